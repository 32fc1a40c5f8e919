package yamldoc

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// step is the way to a node: a key of a mapping or an index of a sequence.
type step struct {
	parent *step
	key    string
	index  int // if there is no key
	named  bool
}

func (s *step) field(key string) *step { return &step{parent: s, key: key, named: true} }

// maxPath is the length in bytes of a path; the front of a longer one is cut.
const maxPath = 4 << 10

// path writes the way as Kubernetes does; a key that isn't a plain word stands
// in brackets.
func (s *step) path() string {
	var parts []string
	for length := 0; s != nil; s = s.parent {
		var part string
		switch {
		case !s.named:
			part = "[" + strconv.Itoa(s.index) + "]"
		case s.key == "" || strings.ContainsAny(s.key, ".[]/ "):
			part = "[" + s.key + "]"
		case s.parent == nil:
			part = s.key
		default:
			part = "." + s.key
		}
		if length += len(part); length > maxPath {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, part)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "")
}

// found is the place of a path: the value, the key that it stands under (nil for an item
// of a sequence and for the root), and what is left of the path because
// nothing is there.
type found struct {
	key, value *yaml.Node
	rest       string
}

// Value gives what stands at a path, nil if there is nothing. Aliases are
// followed.
func (d Doc) Value(path string) *yaml.Node {
	if f, ok := d.find(path); ok {
		return target(f.value)
	}
	return nil
}

// Find gives the place of a field: that of its value if it is a scalar, else
// that of its key. Paths are as Kubernetes writes them: spec.containers[0].image,
// metadata.labels[app.kubernetes.io/name] or metadata.labels.app.kubernetes.io/name,
// and as server-side apply does: .spec.ports[port=80,protocol="TCP"].name. If
// there is no such field, ok is false and the place is that of the longest
// part of the path that is there.
func (d Doc) Find(path string) (line, column int, ok bool) {
	f, ok := d.find(path)
	if f.value == nil {
		return d.Line, 1, false
	}
	n := f.value
	if f.key != nil && (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode || empty(n)) {
		n = f.key
	}
	return n.Line, n.Column, ok
}

// FindKey is Find, but gives the place of the key also where the value is a
// scalar.
func (d Doc) FindKey(path string) (line, column int, ok bool) {
	f, ok := d.find(path)
	switch {
	case f.key != nil:
		return f.key.Line, f.key.Column, ok
	case f.value != nil:
		return f.value.Line, f.value.Column, ok
	}
	return d.Line, 1, false
}

// End gives the place behind the last character of what Find gives, on the
// same line.
func (d Doc) End(path string) (line, column int, ok bool) {
	line, column, ok = d.Find(path)
	if line < d.first {
		return line, column, false
	}
	i, number := 0, d.first
	for number < line {
		n := strings.IndexByte(d.text[i:], '\n')
		if n < 0 {
			return line, column, false
		}
		i, number = i+n+1, number+1
	}
	text, _, _ := strings.Cut(d.text[i:], "\n")
	text = strings.TrimRight(text, " \t\r")
	return line, column + token(text[min(column-1, len(text)):]), ok
}

// token is the length of the scalar or key at the start of a line's rest.
func token(text string) int {
	if text == "" {
		return 0
	}
	switch quote := text[0]; quote {
	case '"', '\'':
		for i := 1; i < len(text); i++ {
			switch {
			case quote == '"' && text[i] == '\\', quote == '\'' && strings.HasPrefix(text[i:], "''"):
				i++
			case text[i] == quote:
				return i + 1
			}
		}
		return len(text)
	case '&', '!': // an anchor or a tag before the value
		word, rest, ok := strings.Cut(text, " ")
		if !ok {
			return len(text)
		}
		rest = strings.TrimLeft(rest, " ")
		return max(len(word), len(text)-len(rest)+token(rest))
	}
	for i := range text {
		rest := text[i:]
		switch {
		case strings.HasPrefix(rest, " #"), strings.HasPrefix(rest, ": "), rest == ":",
			i > 0 && strings.ContainsRune(",]}", rune(rest[0])) && strings.ContainsAny(text[i:], "]}"):
			return len(strings.TrimRight(text[:i], " \t"))
		}
	}
	return len(text)
}

func (d Doc) find(path string) (found, bool) {
	if d.Node == nil {
		return found{rest: path}, false
	}
	f := resolve(found{value: d.Node, rest: path})
	return f, f.rest == ""
}

// resolve goes down from a place as far as the path leads.
func resolve(at found) found {
	path := strings.TrimPrefix(at.rest, ".")
	if path == "" {
		return found{at.key, at.value, ""}
	}
	n := target(at.value)
	if strings.HasPrefix(path, "[") {
		inside, rest, ok := bracket(path)
		if !ok {
			return at
		}
		switch n.Kind {
		case yaml.SequenceNode:
			if i := item(n, inside); i >= 0 {
				return resolve(found{nil, n.Content[i], rest})
			}
		case yaml.MappingNode:
			if key, value := lookup(n, strings.Trim(inside, `"'`), 0); value != nil {
				return resolve(found{key, value, rest})
			}
		}
		return at
	}
	if n.Kind != yaml.MappingNode {
		return at
	}
	// A key may hold dots itself, so each end of a word is a try; the one that
	// leads furthest is right.
	best := at
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '.' && path[end] != '[' {
			continue
		}
		if key, value := lookup(n, path[:end], 0); value != nil {
			if f := resolve(found{key, value, path[end:]}); len(f.rest) < len(best.rest) {
				best = f
			}
		}
	}
	return best
}

// bracket cuts "[inside]rest".
func bracket(path string) (inside, rest string, ok bool) {
	quoted := false
	for i := 1; i < len(path); i++ {
		switch {
		case path[i] == '"':
			quoted = !quoted
		case path[i] == ']' && !quoted:
			return path[1:i], path[i+1:], true
		}
	}
	return "", "", false
}

// item gives the index that stands in brackets: a number, or the keys of an
// associative list (name="app",port=80), or a value of a set (="a").
func item(n *yaml.Node, inside string) int {
	if i, err := strconv.Atoi(inside); err == nil {
		if i < 0 || i >= len(n.Content) {
			return -1
		}
		return i
	}
	keys := strings.Split(inside, ",")
	for i, candidate := range n.Content {
		if matches(target(candidate), keys) {
			return i
		}
	}
	return -1
}

func matches(n *yaml.Node, keys []string) bool {
	given := 0
	for _, k := range keys {
		name, want, ok := strings.Cut(k, "=")
		if !ok {
			return false
		}
		value := n
		if name != "" {
			if _, value = lookup(n, name, 0); value == nil {
				// What the API server fills in, such as protocol TCP, isn't in the text.
				continue
			}
		}
		if target(value).Value != strings.Trim(want, `"`) {
			return false
		}
		given++
	}
	return given > 0
}

// lookup gives a key of a mapping: the last one, as readers that allow it
// twice do, then those that are merged in.
func lookup(n *yaml.Node, name string, depth int) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode || depth > 10 {
		return nil, nil
	}
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == name {
			return k, n.Content[i+1]
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		merged := target(n.Content[i+1])
		sources := []*yaml.Node{merged}
		if merged.Kind == yaml.SequenceNode {
			sources = merged.Content
		}
		for _, s := range sources {
			if key, value := lookup(target(s), name, depth+1); value != nil {
				return key, value
			}
		}
	}
	return nil, nil
}

// target follows an alias. The parser gives an alias no alias as its target.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// empty says that a value isn't written down: "key:".
func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0
}
