package judge

import (
	"context"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// shape is what an API says of a structure: a Go type, or the schema of a CRD.
type shape interface {
	// names are the fields of a structure; nil if it is none.
	names() []string
	// field gives the shape of a field, or of a mapping's values; nil if there
	// is no such field.
	field(name string) shape
	// item gives the shape of a list's items; nil if it is none.
	item() shape
}

type goShape struct{ t reflect.Type }

func (g goShape) target() reflect.Type {
	t := g.t
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

func (g goShape) names() []string {
	t := g.target()
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(unmarshaler) {
		return nil
	}
	return fieldNames(t)
}

func (g goShape) field(name string) shape {
	switch t := g.target(); {
	case t.Kind() == reflect.Map:
		return goShape{t.Elem()}
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(unmarshaler):
		if f, ok := fieldOf(t, name); ok {
			return goShape{f}
		}
	}
	return nil
}

func (g goShape) item() shape {
	switch t := g.target(); t.Kind() {
	case reflect.Slice, reflect.Map:
		return goShape{t.Elem()}
	}
	return nil
}

// fieldNames are those of a struct in JSON.
func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag != "" && tag != "-":
			names = append(names, tag)
		case tag == "" && (f.Anonymous || strings.Contains(options, "inline")) && f.Type.Kind() == reflect.Struct:
			names = append(names, fieldNames(f.Type)...)
		}
	}
	return names
}

// schemaShape is an OpenAPI v3 schema of a CRD.
type schemaShape map[string]any

func (s schemaShape) names() []string {
	properties, _ := get(map[string]any(s), "properties").(map[string]any)
	return sortedKeys(properties)
}

func (s schemaShape) field(name string) shape {
	for _, inner := range []any{get(map[string]any(s), "properties", name), s["additionalProperties"]} {
		if m, ok := inner.(map[string]any); ok {
			return schemaShape(m)
		}
	}
	return nil
}

func (s schemaShape) item() shape {
	for _, key := range []string{"items", "additionalProperties"} {
		if m, ok := s[key].(map[string]any); ok {
			return schemaShape(m)
		}
	}
	return nil
}

// resourceShape is a custom resource: its schema, and what all objects have.
type resourceShape struct{ schemaShape }

func (r resourceShape) field(name string) shape {
	if name == "metadata" {
		return goShape{reflect.TypeFor[metav1.ObjectMeta]()}
	}
	return r.schemaShape.field(name)
}

// shapeOf gives the shape of an object's kind.
func (s *session) shapeOf(ctx context.Context, r resource) (shape, error) {
	if !s.catalogue.custom[r.gvk.Group] && !r.made {
		return goShape{goType(r.gvk)}, nil
	}
	if known, ok := s.shapes[r.gvk]; ok {
		return known, nil
	}
	definition := s.catalogue.kinds[schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}]
	crd, err := s.client.get(ctx, definition, "", r.plural+"."+r.gvk.Group)
	if isBroken(err) {
		return nil, err
	}
	found := resourceShape{schemaShape{}}
	versions, _ := get(crd, "spec", "versions").([]any)
	for _, v := range versions {
		if m, ok := get(v, "schema", "openAPIV3Schema").(map[string]any); ok && text(v, "name") == r.gvk.Version {
			found.schemaShape = m
		}
	}
	s.shapes[r.gvk] = found
	return found, nil
}

// hint says what a field that isn't in the API may be, and where its value
// belongs then: a name that differs little, a field of a structure above, or
// one of a structure right below. Both are "" if nothing is known.
func hint(root shape, path string) (says, to string) {
	way := split(path)
	if len(way) == 0 {
		return "", ""
	}
	wrong := way[len(way)-1]
	type level struct {
		path string
		shape
	}
	levels := []level{{"", root}}
	at, last := "", root
	for _, s := range way[:len(way)-1] {
		if strings.HasPrefix(s, "[") {
			at, last = at+s, last.item()
		} else {
			at, last = join(at, s), last.field(s)
		}
		if last == nil {
			return "", ""
		}
		levels = append(levels, level{at, last})
	}
	best, distance := "", 3
	if len(wrong) < 5 {
		distance = 2
	}
	for _, name := range last.names() {
		if d := edits(strings.ToLower(wrong), strings.ToLower(name)); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?", join(at, best)
	}
	for _, l := range slices.Backward(levels[:len(levels)-1]) {
		if l.path != "" && slices.Contains(l.names(), wrong) {
			return wrong + " is a field of " + l.path, join(l.path, wrong)
		}
	}
	for _, name := range last.names() {
		if inner := last.field(name); name != "status" && inner != nil && slices.Contains(inner.names(), wrong) {
			below := join(at, name)
			return wrong + " is a field of " + below, join(below, wrong)
		}
	}
	return "", ""
}

// edits is the distance of two words by Levenshtein, with a swap of two
// neighbours as one (optimal string alignment). Long words are far apart.
func edits(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return long
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
