package judge

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	// A comment, or a line, that says that something is left out.
	elision = regexp.MustCompile(`(?m)(?:#|^[ \t]*(?:- )?)[ \t]*[(\[{<]?[ \t]*(?:\.\.\.|…)`)
	// What stands for a value of the reader's own. The rule
	// unresolved-placeholder is about it.
	stand = regexp.MustCompile(`<[^<>=\n]*>|\$\{?[A-Za-z_][A-Za-z0-9_]*\}?|\{\{|^(?:\.\.\.|…)$|(?i:your[_-]|change[_-]?me)`)
)

// excerpt says that the document's author has left something out of an object,
// and says so.
func (o origin) excerpt() bool {
	lines := strings.Split(o.example.Text, "\n")
	first, last := max(o.doc.Line-1, 0), min(o.doc.EndLine, len(lines))
	return first < last && elision.MatchString(strings.Join(lines[first:last], "\n"))
}

// standsFor says that what a problem is about is a placeholder, so that the
// problem isn't the value's.
func (o origin) standsFor(p problem) bool {
	if value, ok := valueIn(p.message); ok && stand.MatchString(value) {
		return true
	}
	n := o.doc.Value(o.below(p.field))
	switch {
	case n == nil || p.field == "" || p.rule == unknownField || p.rule == missingField:
		return false
	case n.Kind == yaml.ScalarNode:
		return stand.MatchString(strings.TrimSpace(n.Value))
	case n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2:
		return n.Content[1].ShortTag() == "!!null" // {NAME} and {{ .Value }}
	}
	return false
}
