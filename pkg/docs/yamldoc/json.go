package yamldoc

import (
	"errors"
	"fmt"

	"go.yaml.in/yaml/v3"
	k8syaml "sigs.k8s.io/yaml"
)

const (
	// maxExpanded is the size in bytes, about, to which aliases may expand a
	// document, and maxDepth its depth.
	maxExpanded = 4 * maxText
	maxDepth    = 10_000
)

// JSON gives the document as Kubernetes reads it (sigs.k8s.io/yaml): booleans
// and numbers of YAML 1.1, keys as strings, the last of duplicate keys. A
// document that its aliases make too large is refused.
func (d Doc) JSON() ([]byte, error) {
	if d.Err != nil {
		return nil, d.Err
	}
	if d.Node == nil {
		return nil, errors.New("the document is empty")
	}
	if e := expand(d.Node, map[*yaml.Node]extents{}, 0); e.size > maxExpanded || e.depth > maxDepth {
		return nil, fmt.Errorf("the document's aliases expand it to more than %d MiB or %d levels", maxExpanded>>20, maxDepth)
	}
	return k8syaml.YAMLToJSON([]byte(d.text))
}

// Expanded gives the size of the document in bytes, about, with its aliases
// expanded; a number above 12 MiB if it is larger than that, or endless. Who
// follows aliases looks at it before.
func (d Doc) Expanded() int {
	if d.Node == nil {
		return 0
	}
	return expand(d.Node, map[*yaml.Node]extents{}, 0).size
}

// extents of a node whose aliases are expanded: bytes and levels.
type extents struct{ size, depth int }

// endless are those of an alias inside its own anchor.
var endless = extents{maxExpanded + 1, maxDepth + 1}

func expand(n *yaml.Node, known map[*yaml.Node]extents, depth int) extents {
	if depth > maxDepth {
		return endless
	}
	if n.Kind == yaml.AliasNode {
		e, ok := known[n.Alias]
		if !ok {
			known[n.Alias] = endless // until it is known
			e = expand(n.Alias, known, depth+1)
			known[n.Alias] = e
		}
		return e
	}
	sum := extents{size: 1 + len(n.Value)}
	for _, c := range n.Content {
		e := expand(c, known, depth+1)
		sum.size = min(sum.size+e.size, endless.size)
		sum.depth = max(sum.depth, min(1+e.depth, endless.depth))
	}
	return sum
}
