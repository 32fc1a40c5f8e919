// Package classify says what an example is: objects of a built-in API of
// Kubernetes, custom resources, other configuration and which, a part of
// something, prose or code. It looks at the structure of what stands there,
// not for words in it, and it has no effects.
package classify

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// Parse reads an example as YAML if its language is YAML or JSON, or if it
// names none. It gives nil for any other.
func Parse(e docs.Example) []yamldoc.Doc {
	switch kindOf(e.Language) {
	case data, object, unnamed:
		return yamldoc.Parse(e.Text)
	}
	return nil
}

// Classify sets the class of an example, its format if it is configuration or
// a part of one, and the objects that it holds. parsed are the example's YAML
// documents (Parse).
func Classify(e *docs.Example, parsed []yamldoc.Doc) {
	e.Class, e.Format, e.Objects = docs.Prose, "", nil
	v := verdict{class: docs.Prose}
	switch language := kindOf(e.Language); language {
	case text:
	case file:
		v = ofFile(e.Language, e.Text)
	case code:
		v.class = docs.Code
	case data:
		v = ofStream(e.Text, parsed)
	case object, unnamed:
		// Not every block without a language, and not all JSON is configuration:
		// what is neither objects nor a format that is known is none.
		v = ofStream(e.Text, parsed)
		switch {
		case v.class == docs.Kubernetes, v.class == docs.Custom, v.class == docs.Config:
		case language == object:
			v = verdict{class: docs.Code}
		default:
			v = verdict{class: docs.Prose}
		}
	}
	e.Class, e.Format = v.class, v.format
	for _, o := range v.objects {
		if o.Column == 1 {
			o.Column = 0 // the line's start, which needs no counting
		}
		o.Position = e.At(o.Line, o.Column)
		e.Objects = append(e.Objects, o)
	}
}

// verdict is what a document or an example is. Objects have positions in the
// text.
type verdict struct {
	class   docs.Class
	format  string
	objects []docs.Object
}

// order of classes: an example is what the first of them is that one of its
// documents has.
var order = []docs.Class{docs.Custom, docs.Kubernetes, docs.Config, docs.Fragment, docs.Prose}

// ofStream joins the verdicts of the documents of a stream.
func ofStream(text string, parsed []yamldoc.Doc) verdict {
	if v, ok := ofLines(text, parsed); ok {
		return v
	}
	best := verdict{class: docs.Prose}
	var objects []docs.Object
	lines := strings.SplitAfter(text, "\n")
	for _, d := range parsed {
		for _, part := range d.Split() {
			v := ofDocument(lines, part)
			objects = append(objects, v.objects...)
			if rank(v.class) < rank(best.class) {
				best = v
			}
		}
	}
	best.objects = nil
	if best.class == docs.Custom || best.class == docs.Kubernetes {
		best.objects = objects
	}
	return best
}

func rank(c docs.Class) int { return slices.Index(order, c) }

// maxExpanded is the size in bytes of a document with its aliases expanded
// that is looked at.
const maxExpanded = 4 << 20

// ofDocument is one of a stream that has these lines.
func ofDocument(lines []string, d yamldoc.Doc) verdict {
	if d.Node == nil {
		return ofBroken(lines, d)
	}
	if d.Expanded() > maxExpanded {
		return verdict{class: docs.Fragment}
	}
	if hasAction(d.Node) {
		if v, ok := ofFilled(strings.Join(lines[d.Line-1:d.EndLine], "")); ok {
			return v
		}
	}
	if o, ok := d.Object(); ok && isAPI(o.APIVersion) {
		return ofObject(o, d.Node)
	}
	return ofData(d.Node)
}

// ofObject is a document that has apiVersion and kind.
func ofObject(o docs.Object, root *yaml.Node) verdict {
	if format := configKind(o.APIVersion, o.Kind, root); format != "" {
		return verdict{class: docs.Config, format: format}
	}
	if abridged(root) {
		return verdict{class: docs.Fragment, format: "kubernetes"}
	}
	objects := []docs.Object{o}
	if inside := items(o, root); inside != nil {
		objects = inside
	}
	class := docs.Kubernetes
	for _, o := range objects {
		if !BuiltIn(o.APIVersion, o.Kind) {
			class = docs.Custom
		}
	}
	return verdict{class: class, objects: objects}
}

// items are the objects of a List.
func items(list docs.Object, root *yaml.Node) []docs.Object {
	n := field(root, "items")
	if list.APIVersion != "v1" || list.Kind != "List" || !isList(n) {
		return nil
	}
	var found []docs.Object
	for _, item := range n.Content {
		item = target(item)
		o := docs.Object{
			APIVersion: str(field(item, "apiVersion")), Kind: str(field(item, "kind")),
			Namespace: str(field(field(item, "metadata"), "namespace")), Name: str(field(field(item, "metadata"), "name")),
			Position: docs.Position{Line: item.Line, Column: item.Column},
		}
		if isAPI(o.APIVersion) && o.Kind != "" {
			found = append(found, o)
		}
	}
	return found
}

// ofData is a document of YAML that is no object.
func ofData(root *yaml.Node) verdict {
	switch name, whole := formatOf(root); {
	case name != "" && whole && !abridged(root):
		return verdict{class: docs.Config, format: name}
	case name != "":
		return verdict{class: docs.Fragment, format: name}
	case isProse(root):
		return verdict{class: docs.Prose}
	case partOfObject(root):
		return verdict{class: docs.Fragment, format: "kubernetes"}
	}
	return verdict{class: docs.Fragment}
}
