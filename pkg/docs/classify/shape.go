package classify

import "go.yaml.in/yaml/v3"

// shape is what a value has to look like.
type shape func(*yaml.Node) bool

// fields are keys of a mapping and what their values have to look like.
type fields map[string]shape

// has is a mapping that has all of these keys.
func has(want fields) shape {
	return func(n *yaml.Node) bool {
		for key, is := range want {
			if v := field(n, key); v == nil || !is(v) {
				return false
			}
		}
		return len(want) > 0
	}
}

// hasAny is a mapping that has at least one of the keys.
func hasAny(keys ...string) shape {
	return func(n *yaml.Node) bool {
		for _, key := range keys {
			if field(n, key) != nil {
				return true
			}
		}
		return false
	}
}

func anyOf(shapes ...shape) shape {
	return func(n *yaml.Node) bool {
		for _, is := range shapes {
			if is(n) {
				return true
			}
		}
		return false
	}
}

func both(shapes ...shape) shape {
	return func(n *yaml.Node) bool {
		for _, is := range shapes {
			if !is(n) {
				return false
			}
		}
		return true
	}
}

// list is a sequence all of whose items look so; an empty one doesn't count.
func list(is shape) shape {
	return func(n *yaml.Node) bool {
		if !isList(n) || len(n.Content) == 0 {
			return false
		}
		for _, item := range n.Content {
			if !is(target(item)) {
				return false
			}
		}
		return true
	}
}

// some is a list or a mapping that has an item or a value that looks so.
func some(is shape) shape {
	return func(n *yaml.Node) bool {
		for _, v := range values(n) {
			if is(v) {
				return true
			}
		}
		return false
	}
}

// each is a mapping all of whose values look so; an empty one doesn't count.
func each(is shape) shape {
	return func(n *yaml.Node) bool {
		if !isMapping(n) || len(n.Content) == 0 {
			return false
		}
		for _, v := range values(n) {
			if !is(v) {
				return false
			}
		}
		return true
	}
}

func value(want ...string) shape {
	return func(n *yaml.Node) bool {
		for _, w := range want {
			if isScalar(n) && n.Value == w {
				return true
			}
		}
		return false
	}
}

func anything(*yaml.Node) bool    { return true }
func isMapping(n *yaml.Node) bool { return n != nil && n.Kind == yaml.MappingNode }
func isList(n *yaml.Node) bool    { return n != nil && n.Kind == yaml.SequenceNode }
func isScalar(n *yaml.Node) bool  { return n != nil && n.Kind == yaml.ScalarNode && !isNull(n) }
func isNull(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}
func isBool(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool"
}
func isNumber(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float")
}

// field gives the value of a key, nil if there is none.
func field(n *yaml.Node, key string) *yaml.Node {
	if !isMapping(n) {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return target(n.Content[i+1])
		}
	}
	return nil
}

// values are the items of a list or the values of a mapping.
func values(n *yaml.Node) []*yaml.Node {
	var found []*yaml.Node
	switch {
	case isList(n):
		for _, item := range n.Content {
			found = append(found, target(item))
		}
	case isMapping(n):
		for i := 1; i < len(n.Content); i += 2 {
			found = append(found, target(n.Content[i]))
		}
	}
	return found
}

// keys are those of a mapping.
func keys(n *yaml.Node) []string {
	if !isMapping(n) {
		return nil
	}
	var found []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		found = append(found, n.Content[i].Value)
	}
	return found
}

func str(n *yaml.Node) string {
	if isScalar(n) && n.ShortTag() == "!!str" {
		return n.Value
	}
	return ""
}

func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}
