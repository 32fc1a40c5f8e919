package judge

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// origin is where an object stands in a document.
type origin struct {
	path    string
	example *docs.Example
	doc     yamldoc.Doc
	// prefix is the way from the YAML document to the object: "items[2]" in
	// a List, else "".
	prefix string
}

// finding puts a problem at its place.
func (o origin) finding(p problem, object string) docs.Finding {
	line, column, end := o.place(p)
	f := docs.Finding{
		Rule: p.rule, Severity: p.severity, Path: o.path, Position: o.example.At(line, column), Message: p.message,
		Field: o.below(p.field), Object: object, Example: o.example.Line, SHA256: o.example.SHA256,
	}
	if f.Severity == "" {
		f.Severity = severities[p.rule]
	}
	if end > column {
		f.End = o.example.At(line, end)
	}
	return f
}

// below gives the path of an object's field in the YAML document.
func (o origin) below(field string) string {
	switch {
	case o.prefix == "" || field == "":
		return o.prefix + field
	case strings.HasPrefix(field, "["):
		return o.prefix + field
	}
	return o.prefix + "." + field
}

// place gives line and column in the example's text, and the column behind.
func (o origin) place(p problem) (line, column, end int) {
	field := o.below(p.field)
	if field == "" {
		return o.doc.Line, o.doc.Node.Column, 0
	}
	for _, candidate := range written(p.field) {
		if _, _, ok := o.doc.Find(o.below(candidate)); ok {
			field = o.below(candidate)
			break
		}
	}
	if key, child := o.child(field, p.message); child != "" {
		field, p.onKey = child, key
	}
	find := o.doc.Find
	if p.onKey {
		find = o.doc.FindKey
	}
	line, column, ok := find(field)
	if !ok { // what isn't there is missing in what is
		if at := o.longest(field); at != "" {
			line, column, _ = o.doc.FindKey(at)
		}
		return line, column, 0
	}
	if _, behind, ok := o.doc.End(field); ok && !p.onKey {
		end = behind
	}
	return line, column, end
}

// longest gives the longest part of a path that is there.
func (o origin) longest(field string) string {
	for field != "" {
		i := max(strings.LastIndexByte(field, '.'), strings.LastIndexByte(field, '['))
		if i < 0 {
			return ""
		}
		field = field[:i]
		if _, _, ok := o.doc.Find(field); ok {
			return field
		}
	}
	return ""
}

// child gives the one of a mapping or a list that a message names by its
// value: `metadata.labels: Invalid value: "a b"` is about one label.
func (o origin) child(field, message string) (key bool, path string) {
	n := o.doc.Value(field)
	value, ok := valueIn(message)
	if n == nil || !ok {
		return false, ""
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.Value == value {
				return true, join(field, k.Value)
			}
			if v.Kind == yaml.ScalarNode && v.Value == value {
				return false, join(field, k.Value)
			}
		}
	case yaml.SequenceNode:
		for i, v := range n.Content {
			if v.Kind == yaml.ScalarNode && v.Value == value {
				return false, field + index(i)
			}
		}
	}
	return false, ""
}

// written gives the fields as a manifest has them for one that a validation
// names as the API server's own structures have it.
func written(field string) []string {
	candidates := []string{field}
	for _, r := range []struct{ internal, written string }{
		// A CRD with one version has its schema at the top there.
		{"spec.validation.", "spec.versions[0].schema."},
		{"spec.subresources", "spec.versions[0].subresources"},
		{"spec.additionalPrinterColumns", "spec.versions[0].additionalPrinterColumns"},
		{"spec.clusterIPs", "spec.clusterIP"},
		{"spec.serviceAccountName", "spec.serviceAccount"},
	} {
		if rest, ok := strings.CutPrefix(field, r.internal); ok {
			rest = strings.TrimPrefix(rest, "[0]")
			candidates = append(candidates, r.written+rest)
		}
		if before, after, ok := strings.Cut(field, "."+r.internal); ok { // in a Pod template
			candidates = append(candidates, before+"."+r.written+after)
		}
	}
	return candidates
}
