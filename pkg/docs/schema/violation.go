package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// Kind of a violation.
type Kind int

// The kinds.
const (
	Invalid Kind = iota // a value that isn't allowed
	UnknownField
	MissingField
	WrongType
)

// Violation is a mistake in a document.
type Violation struct {
	Kind Kind
	// Field is its path: "spec.containers[0].image".
	Field string
	// Line and Column, in the text that was parsed: of a key that isn't known,
	// of what lacks a field, or of a wrong value.
	Line, Column int
	// Message says what is wrong, in words of the API server where it has some.
	Message string
	// place is the field whose key or value the position is.
	place string
	onKey bool
}

// maxViolations is how many of an object are named.
const maxViolations = 100

var english = message.NewPrinter(language.English)

// located gives violations their places, in the document's order.
func located(d yamldoc.Doc, all []Violation) []Violation {
	for i := range all {
		find := d.Find
		if all[i].onKey {
			find = d.FindKey
		}
		all[i].Line, all[i].Column, _ = find(all[i].place)
	}
	slices.SortStableFunc(all, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// violationsOf are the leaves of a validation's error, by field.
func violationsOf(object any, err error) []Violation {
	var top *jsonschema.ValidationError
	if !errors.As(err, &top) {
		return nil
	}
	var out []Violation
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(out) >= maxViolations {
			return
		}
		switch e.ErrorKind.(type) {
		// Of alternatives none fits: which one was meant isn't known.
		case *kind.OneOf, *kind.AnyOf, *kind.Not:
			out = append(out, violation(object, e)...)
			return
		}
		if len(e.Causes) == 0 {
			out = append(out, violation(object, e)...)
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(top)
	slices.SortFunc(out, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	// Two references to one schema say the same.
	return slices.Compact(out)
}

func violation(object any, e *jsonschema.ValidationError) []Violation {
	at := path(object, e.InstanceLocation)
	var out []Violation
	add := func(k Kind, field, place, text string) {
		out = append(out, Violation{Kind: k, Field: field, Message: text, place: place, onKey: k == UnknownField || k == MissingField})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range slices.Sorted(slices.Values(k.Properties)) {
			field := join(at, name)
			add(UnknownField, field, field, fmt.Sprintf("unknown field %q", field))
		}
	case *kind.Required:
		for _, name := range k.Missing {
			field := join(at, name)
			add(MissingField, field, at, fmt.Sprintf("missing required field %q", field))
		}
	case *kind.Type:
		add(WrongType, at, at, fmt.Sprintf("%s is %s, not %s", cmp.Or(at, "the object"), article(k.Got), article(strings.Join(k.Want, " or "))))
	case *kind.OneOf, *kind.AnyOf:
		add(none(e), at, at, fmt.Sprintf("%s fits none of the forms that its schema has", cmp.Or(at, "the object")))
	default:
		add(Invalid, at, at, fmt.Sprintf("%s: %s", cmp.Or(at, "the object"), e.ErrorKind.LocalizedString(english)))
	}
	return out
}

// none is why a value fits none of several forms: a wrong type if it is of the
// type of none.
func none(e *jsonschema.ValidationError) Kind {
	for _, c := range e.Causes {
		if _, ok := c.ErrorKind.(*kind.Type); !ok || len(c.InstanceLocation) != len(e.InstanceLocation) {
			return Invalid
		}
	}
	return WrongType
}

func article(name string) string {
	if strings.HasPrefix(name, "a") || strings.HasPrefix(name, "i") || strings.HasPrefix(name, "o") {
		return "an " + name
	}
	return "a " + name
}

// path writes a way into an object as Kubernetes does.
func path(object any, way []string) string {
	at := ""
	for _, step := range way {
		switch o := object.(type) {
		case []any:
			at += "[" + step + "]"
			if i, err := strconv.Atoi(step); err == nil && i < len(o) {
				object = o[i]
			}
		case map[string]any:
			at = join(at, step)
			object = o[step]
		}
	}
	return at
}

func join(at, name string) string {
	switch {
	case name == "" || strings.ContainsAny(name, ".[]/ "):
		return at + "[" + name + "]"
	case at == "":
		return name
	}
	return at + "." + name
}
