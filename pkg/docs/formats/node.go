package formats

import (
	"iter"

	"go.yaml.in/yaml/v3"
)

// The functions below don't follow aliases: what an anchor holds is looked at
// where it stands, so no document is larger than its text.

// entries are the keys and values of a mapping; none if it isn't one.
func entries(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(*yaml.Node, *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// items are those of a sequence with their index; none if it isn't one.
func items(n *yaml.Node) iter.Seq2[int, *yaml.Node] {
	return func(yield func(int, *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.SequenceNode {
			return
		}
		for i, item := range n.Content {
			if !yield(i, item) {
				return
			}
		}
	}
}

// field is what a mapping holds below names, nil if there is nothing.
func field(n *yaml.Node, names ...string) *yaml.Node {
	for _, name := range names {
		var found *yaml.Node
		for k, v := range entries(n) {
			if k.Value == name {
				found = v // the last one, as readers that allow it twice do
			}
		}
		n = found
	}
	return n
}

func isString(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str"
}
