package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// runtimes are those that ${CLASS.…} knows.
var runtimes = []string{"runc", "gvisor", "wasmedge"}

// imageName is the short name of an add-on's image.
var imageName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// surroundings gives the names of a scenario that its steps have no part in.
// With no environment it gives a sample of each, so that everything can be
// checked without a cluster.
func surroundings(env *probe.Environment, namespace string, others []string) Names {
	return func(name string) (any, error) {
		head, rest, dotted := strings.Cut(name, ".")
		if head == "NODE" {
			return nodeName(env, rest, dotted)
		}
		switch {
		case name == "NAMESPACE":
			return namespace, nil
		case head == "NAMESPACE":
			if !slices.Contains(others, rest) {
				return nil, fmt.Errorf("others has no %q", rest)
			}
			return namespace + "-" + rest, nil
		case name == "IMAGE", name == "WASM_IMAGE":
			runtime := map[string]string{"IMAGE": "runc", "WASM_IMAGE": "wasmedge"}[name]
			if env == nil {
				return "image", nil
			}
			return env.Cluster.ProbeImage(runtime), nil
		case head == "IMAGE" && imageName.MatchString(rest):
			return image(env, rest)
		case head == "CLASS" && slices.Contains(runtimes, rest):
			if env == nil {
				return rest, nil
			}
			class, ok := env.Cluster.RuntimeClass(rest)
			if !ok {
				return nil, evidence.Untestablef("the cluster has no RuntimeClass for %s", rest)
			}
			return class, nil
		}
		return nil, errUnknownName
	}
}

var errUnknownName = errors.New("is no name that is known here: NAMESPACE, NAMESPACE.OTHER, IMAGE, IMAGE.NAME, WASM_IMAGE, CLASS.{runc,gvisor,wasmedge}, NODE, NODE.N, or STEP.VALUE of an earlier step; write $${ for a literal ${")

func nodeName(env *probe.Environment, rest string, dotted bool) (any, error) {
	i := 0
	if dotted {
		var err error
		if i, err = strconv.Atoi(rest); err != nil || i < 0 {
			return nil, errors.New("is no node: write NODE, NODE.1, …")
		}
	}
	if env == nil {
		return "node", nil
	}
	names := env.Cluster.Nodes()
	if i >= len(names) {
		return nil, evidence.Untestablef("the cluster has %d nodes; this needs %d", len(names), i+1)
	}
	return names[i], nil
}

func image(env *probe.Environment, name string) (any, error) {
	if env == nil {
		return "image", nil
	}
	ref, ok := env.Images[name]
	if !ok {
		return nil, evidence.Untestablef("the add-on that brings the image %s is not up (labctl addon list names it)", name)
	}
	return ref, nil
}

// values gives the names STEP.VALUE of what earlier steps left, and asks rest
// for all others.
func values(left evidence.Set, rest Names) Names {
	return func(name string) (any, error) {
		v, ok := left.Get(name)
		if !ok {
			return rest(name)
		}
		switch x := v.Value.(type) {
		case []string:
			return strings.Join(x, "\n"), nil
		default:
			return x, nil
		}
	}
}

// sample is a value of each declared output, to check with what looks at it.
func sample(outputs []evidence.Output) evidence.Set {
	var set evidence.Set
	for _, o := range outputs {
		v := evidence.Value{Name: o.Name, Type: o.Type, Unit: o.Unit}
		switch o.Type {
		case evidence.Bool:
			v.Value = true
		case evidence.Int:
			v.Value = int64(1)
		case evidence.Double:
			v.Value = 1.5
		case evidence.Duration:
			v.Value = time.Second
		case evidence.List:
			v.Value = []string{"sample"}
		default:
			v.Value = "1"
		}
		set = append(set, v)
	}
	return set
}
