package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// Plan is what Up and its caller would do to a cluster.
type Plan struct {
	Context string   `json:"context"`
	Server  string   `json:"server"`
	Nodes   []Node   `json:"nodes"`
	Objects []Object `json:"objects"`
	Images  []Image  `json:"images"`
}

// Node is a node of the cluster.
type Node struct {
	Name         string `json:"name"`
	Architecture string `json:"architecture"`
	Runtime      string `json:"runtime"`
	// Here says that the node is this machine; else Why it can't be looked into.
	Here bool   `json:"here"`
	Why  string `json:"why,omitempty"`
	// Refused is why labs can't run there; "" if they can.
	Refused string `json:"refused,omitempty"`
}

// Action is what is done to an object or an image.
type Action string

// The actions.
const (
	create Action = "create"
	update Action = "update"
	use    Action = "use" // it is there and stays as it is
	push   Action = "push"
	load   Action = "load"
	refuse Action = "refuse" // labctl can't go on
)

// Object is an object in the cluster.
type Object struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Action Action `json:"action"`
	Why    string `json:"why,omitempty"`
}

// Image is one of labprobe's images.
type Image struct {
	Reference string `json:"reference"`
	Action    Action `json:"action"`
	Why       string `json:"why,omitempty"`
}

// plan compares the cluster with what labs need.
func (c *Cluster) plan(ctx context.Context) (Plan, error) {
	p := Plan{Context: c.context, Server: c.rest.Host}
	for _, n := range c.nodes {
		p.Nodes = append(p.Nodes, Node{
			Name: n.name, Architecture: n.architecture, Runtime: n.runtime,
			Here: n.away == "", Why: n.away, Refused: n.refused(),
		})
	}
	for _, runtime := range runtimes.Names {
		name, wanted := c.classes[runtime]
		if !wanted {
			continue
		}
		o, err := c.planClass(ctx, runtime, name)
		if err != nil {
			return p, err
		}
		p.Objects = append(p.Objects, o)
	}
	var refs []string
	for _, runtime := range runtimes.Names {
		if ref := c.ProbeImage(runtime); ref != "" && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
			p.Images = append(p.Images, c.planImage(ref))
		}
	}
	return p, nil
}

// planClass compares a RuntimeClass with the one that labctl would make.
// Which handlers the nodes' containerd has can't be seen in the API: the
// proof tells.
func (c *Cluster) planClass(ctx context.Context, runtime, name string) (Object, error) {
	o := Object{Kind: "RuntimeClass", Name: name}
	there, err := c.client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		o.Action, o.Why = create, "handler "+runtime
	case err != nil:
		return o, fmt.Errorf("RuntimeClass %s: %w", name, err)
	case !runtimes.MadeByLabctl(there):
		o.Action, o.Why = use, "handler "+there.Handler+", not made by labctl; the proof tells whether it is "+runtime
	default:
		o.Action, o.Why = update, "labctl made it"
		if _, err := runtimes.CheckClass(there, runtime); err != nil {
			o.Action, o.Why = refuse, err.Error()
		}
	}
	return o, nil
}

// Apply makes the RuntimeClasses that are missing, and brings those up to date
// that labctl made. Any other of that name is the cluster's own word on the
// runtime, whatever its handler is called: it is left as it is.
func Apply(ctx context.Context, client kubernetes.Interface, classes map[string]string) error {
	mine := map[string]string{}
	for runtime, name := range classes {
		there, err := client.NodeV1().RuntimeClasses().Get(ctx, name, metav1.GetOptions{})
		switch {
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("RuntimeClass %s: %w", name, err)
		case err != nil || runtimes.MadeByLabctl(there):
			mine[runtime] = name
		}
	}
	return runtimes.Apply(ctx, client, mine)
}

func (c *Cluster) planImage(ref string) Image {
	if c.registry != "" {
		return Image{Reference: ref, Action: push, Why: "if the registry doesn't have it"}
	}
	if away := c.away(); len(away) > 0 {
		return Image{Reference: ref, Action: refuse, Why: fmt.Sprintf("it can't be loaded into %s, which is not this machine; give --registry HOST/PATH, which labctl pushes to and the nodes pull from", strings.Join(away, ", "))}
	}
	return Image{Reference: ref, Action: load, Why: "into this machine's containerd, if it isn't there"}
}

// away are the nodes that can't be looked into.
func (c *Cluster) away() []string {
	var names []string
	for _, n := range c.nodes {
		if n.away != "" {
			names = append(names, n.name)
		}
	}
	return names
}

// refusal is everything in the plan that stands in the way.
func (p Plan) refusal() error {
	var errs []error
	for _, n := range p.Nodes {
		if n.Refused != "" {
			errs = append(errs, fmt.Errorf("node %s: %s", n.Name, n.Refused))
		}
	}
	for _, o := range p.Objects {
		if o.Action == refuse {
			errs = append(errs, fmt.Errorf("%s %s: %s", o.Kind, o.Name, o.Why))
		}
	}
	for _, i := range p.Images {
		if i.Action == refuse {
			errs = append(errs, fmt.Errorf("image %s: %s", i.Reference, i.Why))
		}
	}
	return errors.Join(errs...)
}

// String is the plan for people.
func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Cluster of context %s, %s\n", p.Context, p.Server)
	b.WriteString("\nNodes\n")
	for _, n := range p.Nodes {
		where := "this machine"
		if !n.Here {
			where = "another machine: " + n.Why
		}
		fmt.Fprintf(&b, "  %s (%s, %s): %s\n", n.Name, n.Architecture, n.Runtime, where)
		if n.Refused != "" {
			fmt.Fprintf(&b, "    refuse: %s\n", n.Refused)
		}
	}
	b.WriteString("\nObjects\n")
	for _, o := range p.Objects {
		fmt.Fprintf(&b, "  %-7s%s %s: %s\n", o.Action, o.Kind, o.Name, o.Why)
	}
	b.WriteString("  Pods that prove the classes, in namespace default, deleted at once\n")
	b.WriteString("\nImages\n")
	for _, i := range p.Images {
		fmt.Fprintf(&b, "  %-7s%s: %s\n", i.Action, i.Reference, i.Why)
	}
	return b.String()
}
