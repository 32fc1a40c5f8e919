package judge

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// The API server says of a value of a wrong type neither where in a list it
// is nor, for quantities, times and the like, in which field. The Go types of
// the API say it: a value that its type can't be decoded from is the one.

// goType gives the type of a kind; of a custom resource it is that of what
// all objects share. labctl's types may be of another version than the API
// server: they only say where something is, never whether it is wrong.
func goType(gvk schema.GroupVersionKind) reflect.Type {
	if gvk.Group == apiextensions.GroupName && gvk.Kind == "CustomResourceDefinition" {
		return reflect.TypeFor[apiextensions.CustomResourceDefinition]()
	}
	if t, ok := scheme.Scheme.AllKnownTypes()[gvk]; ok {
		return t
	}
	return reflect.TypeFor[metav1.PartialObjectMetadata]()
}

// mistyped gives a problem for each value that the type can't be decoded from.
func mistyped(t reflect.Type, object any) []problem {
	var found []problem
	decodable(t, object, "", func(path, message string) {
		found = append(found, problem{rule: wrongType, field: path, message: path + ": " + message})
	})
	return found
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func decodable(t reflect.Type, v any, path string, report func(path, message string)) {
	if v == nil {
		return
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		if err := decode(t, v); err != nil {
			report(path, said(v)+" "+unread(err))
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			report(path, wants(v, "a mapping"))
			return
		}
		for _, name := range sortedKeys(m) {
			if f, ok := fieldOf(t, name); ok {
				decodable(f, m[name], join(path, name), report)
			}
		}
	case reflect.Map:
		m, ok := v.(map[string]any)
		if !ok {
			report(path, wants(v, "a mapping"))
			return
		}
		for _, name := range sortedKeys(m) {
			decodable(t.Elem(), m[name], join(path, name), report)
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			if s, ok := v.(string); !ok {
				report(path, wants(v, "a string in base64"))
			} else if _, err := base64.StdEncoding.DecodeString(s); err != nil {
				report(path, "the value is not base64: "+err.Error())
			}
			return
		}
		list, ok := v.([]any)
		if !ok {
			report(path, wants(v, "a list"))
			return
		}
		for i, item := range list {
			decodable(t.Elem(), item, path+index(i), report)
		}
	case reflect.Interface:
	default:
		if decode(t, v) != nil {
			report(path, wants(v, scalarNames[t.Kind()]))
		}
	}
}

func decode(t reflect.Type, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, reflect.New(t).Interface())
}

var scalarNames = map[reflect.Kind]string{
	reflect.String: "a string", reflect.Bool: "a boolean (true or false)",
	reflect.Int32: "an integer of 32 bits", reflect.Int64: "an integer", reflect.Int: "an integer",
	reflect.Uint32: "a positive integer of 32 bits", reflect.Uint64: "a positive integer",
	reflect.Float32: "a number", reflect.Float64: "a number",
}

// wants says what is there and what should be, and what to do about quotes.
func wants(v any, want string) string {
	if want == "" {
		want = "another type"
	}
	message := said(v) + "; the API wants " + want
	switch v := v.(type) {
	case string:
		if _, err := strconv.ParseFloat(v, 64); (err == nil || v == "true" || v == "false") && want != "a string" {
			message += " (without quotes)"
		}
	case bool, float64, json.Number:
		if want == "a string" {
			message += " (in quotes)"
		}
	}
	return message
}

// said describes a value.
func said(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q is a string", short(v))
	case bool:
		return fmt.Sprintf("%v is a boolean", v)
	case float64, json.Number:
		data, _ := json.Marshal(v)
		return string(data) + " is a number"
	case []any:
		return "there is a list"
	case map[string]any:
		return "there is a mapping"
	}
	return fmt.Sprintf("%v", v)
}

func short(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// unread words what a type of Kubernetes says of a value.
func unread(err error) string {
	message := oneLine(err.Error())
	switch {
	case strings.Contains(message, "quantities must match"), strings.Contains(message, "unable to parse quantity"):
		return `that can't be read as a quantity, such as "500m", "1.5" or "64Mi"`
	case strings.Contains(message, "parsing time"):
		return `that can't be read as a time in RFC 3339, such as "2025-01-31T12:00:00Z"`
	}
	return "that can't be read: " + strings.TrimPrefix(message, "json: ")
}

// fieldOf gives the type of a struct's field by its name in JSON.
func fieldOf(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case tag == name:
			return f.Type, true
		case tag == "" && (f.Anonymous || strings.Contains(options, "inline")):
			inner := f.Type
			for inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				if found, ok := fieldOf(inner, name); ok {
					return found, true
				}
			}
		}
	}
	return nil, false
}

// split gives the steps of a path: names, and indices with their brackets.
func split(path string) []string {
	var steps []string
	for path != "" {
		end := strings.IndexAny(path, ".[")
		switch {
		case end < 0:
			return append(steps, path)
		case path[end] == '.' && end > 0:
			steps = append(steps, path[:end])
			path = path[end+1:]
		case path[end] == '.':
			path = path[1:]
		case end > 0:
			steps = append(steps, path[:end])
			path = path[end:]
		default:
			closing := strings.IndexByte(path, ']')
			if closing < 0 {
				return append(steps, path)
			}
			steps = append(steps, path[:closing+1])
			path = path[closing+1:]
		}
	}
	return steps
}

func join(path, name string) string {
	switch {
	case name == "" || strings.ContainsAny(name, ".[]/ "):
		return path + "[" + name + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
