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

// Violation is a mistake in a document.
type Violation struct {
	// Field is its path: "spec.containers[0].image".
	Field string
	// Line and Column, in the text that was parsed: of a key that isn't known,
	// of what lacks a field, or of a wrong value.
	Line, Column int
	// Message says what is wrong, in words of the API server where it has some.
	Message string
}

// maxViolations is how many of an object are named.
const maxViolations = 100

var english = message.NewPrinter(language.English)

// violationsOf are the leaves of a validation's error, in the document's order.
func violationsOf(d yamldoc.Doc, object any, err error) []Violation {
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
			out = append(out, violation(d, object, e)...)
			return
		}
		if len(e.Causes) == 0 {
			out = append(out, violation(d, object, e)...)
		}
		for _, c := range e.Causes {
			walk(c)
		}
	}
	walk(top)
	slices.SortFunc(out, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	// Two references to one schema say the same.
	return slices.Compact(out)
}

func violation(d yamldoc.Doc, object any, e *jsonschema.ValidationError) []Violation {
	at := path(object, e.InstanceLocation)
	var out []Violation
	add := func(field, place, text string, key bool) {
		find := d.Find
		if key {
			find = d.FindKey
		}
		line, column, _ := find(place)
		out = append(out, Violation{Field: field, Line: line, Column: column, Message: text})
	}
	switch k := e.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		for _, name := range slices.Sorted(slices.Values(k.Properties)) {
			field := join(at, name)
			add(field, field, fmt.Sprintf("unknown field %q", field), true)
		}
	case *kind.Required:
		for _, name := range k.Missing {
			field := join(at, name)
			add(field, at, fmt.Sprintf("missing required field %q", field), true)
		}
	case *kind.Type:
		add(at, at, fmt.Sprintf("%s is %s, not %s", cmp.Or(at, "the object"), article(k.Got), article(strings.Join(k.Want, " or "))), false)
	case *kind.OneOf, *kind.AnyOf:
		add(at, at, fmt.Sprintf("%s fits none of the forms that its schema has", cmp.Or(at, "the object")), false)
	default:
		add(at, at, fmt.Sprintf("%s: %s", cmp.Or(at, "the object"), e.ErrorKind.LocalizedString(english)), false)
	}
	return out
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
