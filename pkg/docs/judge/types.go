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

// hint says what a field that isn't in the API may be, and where its value
// belongs then: a name that differs little, a field of a structure above, or
// one of a structure right below. Both are "" if nothing is known.
func hint(t reflect.Type, path string) (says, to string) {
	way := split(path)
	if len(way) == 0 {
		return "", ""
	}
	wrong := way[len(way)-1]
	type level struct {
		path string
		t    reflect.Type
	}
	levels := []level{{"", t}}
	at := ""
	for _, s := range way[:len(way)-1] {
		if t = child(t, s); t == nil {
			return "", ""
		}
		if strings.HasPrefix(s, "[") {
			at += s
		} else {
			at = join(at, s)
		}
		levels = append(levels, level{at, t})
	}
	last := structOf(t)
	if last == nil {
		return "", ""
	}
	best, distance := "", 3
	if len(wrong) < 5 {
		distance = 2
	}
	for _, name := range fieldNames(last) {
		if d := edits(strings.ToLower(wrong), strings.ToLower(name)); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return "did you mean " + best + "?", join(at, best)
	}
	for _, l := range slices.Backward(levels[:len(levels)-1]) {
		if above := structOf(l.t); above != nil && l.path != "" {
			if _, ok := fieldOf(above, wrong); ok {
				return wrong + " is a field of " + l.path, join(l.path, wrong)
			}
		}
	}
	for _, name := range fieldNames(last) {
		f, _ := fieldOf(last, name)
		if inner := structOf(f); inner != nil && name != "metadata" && name != "status" {
			if _, ok := fieldOf(inner, wrong); ok {
				below := join(at, name)
				return wrong + " is a field of " + below, join(below, wrong)
			}
		}
	}
	return "", ""
}

func structOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(unmarshaler) {
		return t
	}
	return nil
}

func child(t reflect.Type, s string) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case strings.HasPrefix(s, "[") && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map):
		return t.Elem()
	case t.Kind() == reflect.Map:
		return t.Elem()
	case t.Kind() == reflect.Struct:
		if f, ok := fieldOf(t, s); ok {
			return f
		}
	}
	return nil
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

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
