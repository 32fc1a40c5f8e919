package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// The limits of a spec, far above any real one: its nodes with aliases
// expanded, and how long the path of a field may be. They stop documents that
// blow up by aliases of aliases, or by an alias within what it stands for.
const (
	maxNodes = 100_000
	maxPath  = 500
)

// enumerated is implemented by string types that have a fixed set of values.
type enumerated interface{ values() []string }

func (Layer) values() []string { return texts(Layers) }

func (Verdict) values() []string { return texts(Verdicts) }

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

// decoder fills Go values from YAML nodes as strictly as the Go types say:
// the json tags name the fields, a field without omitempty is required and
// may not be empty. It collects problems and the position of every field.
type decoder struct {
	file     string
	nodes    map[string]*yaml.Node
	problems Problems
	visited  int
}

var syntaxLine = regexp.MustCompile(`^line (\d+): `)

// document parses the one YAML document that data must be; nil if it can't.
func (d *decoder) document(data io.Reader) *yaml.Node {
	dec := yaml.NewDecoder(data)
	var doc yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		d.problems = append(d.problems, Problem{Position: Position{File: d.file}, Message: "is empty; a lab spec begins with apiVersion: " + APIVersion})
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	var next yaml.Node
	if err := dec.Decode(&next); err == nil {
		d.addf(&next, "", "a second YAML document; write one lab a file")
	} else if !errors.Is(err, io.EOF) {
		d.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// syntax turns an error of the parser, which holds a line in its text, into a problem.
func (d *decoder) syntax(err error) {
	at := Position{File: d.file}
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := syntaxLine.FindStringSubmatch(msg); m != nil {
		at.Line, _ = strconv.Atoi(m[1]) // digits by the expression
		at.Column = 1
		msg = msg[len(m[0]):]
		if strings.HasPrefix(msg, "did not find expected") {
			// The parser, unlike the scanner below it, counts lines from 0. It
			// names the line where the list or mapping begins.
			at.Line++
		}
	}
	d.problems = append(d.problems, Problem{Position: at, Message: "is not YAML: " + msg})
}

func (d *decoder) addf(n *yaml.Node, field, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		Position: Position{File: d.file, Line: n.Line, Column: n.Column},
		Field:    field, Message: fmt.Sprintf(format, args...),
	})
}

// resolve follows aliases and counts what was visited; nil where the limit is passed.
func (d *decoder) resolve(n *yaml.Node, field string) *yaml.Node {
	switch d.visited++; {
	case d.visited == maxNodes:
		d.addf(n, "", "the spec has more than %d nodes with its aliases expanded; write less", maxNodes)
		return nil
	case d.visited > maxNodes:
		return nil
	case len(field) > maxPath:
		d.addf(n, field[:40]+"…", "is nested too deeply; is an alias part of what it stands for?")
		d.visited = maxNodes // nothing more to learn
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

var rawType = reflect.TypeFor[json.RawMessage]()

// value fills v from n.
func (d *decoder) value(n *yaml.Node, v reflect.Value, field string) {
	d.nodes[field] = n
	if n = d.resolve(n, field); n == nil {
		return
	}
	if v.Type() == rawType {
		d.raw(n, v, field)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		if v.Elem().Kind() == reflect.String && n.ShortTag() == "!!str" && n.Value == "" {
			return // an empty text that is there says something (selector: "")
		}
		d.value(n, v.Elem(), field)
	case reflect.Struct:
		d.mapping(n, v, field)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.addf(n, field, "is %s; write a list", describe(n))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.value(item, v.Index(i), element(field, i))
		}
	case reflect.String:
		d.text(n, v, field)
	case reflect.Bool:
		b, err := strconv.ParseBool(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || err != nil {
			d.addf(n, field, "is %s; write true or false", describe(n))
			return
		}
		v.SetBool(b)
	case reflect.Int:
		i, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.addf(n, field, "is %s; write a whole number", describe(n))
			return
		}
		v.SetInt(int64(i))
	default:
		// The spec's types are ours: a new kind of field needs a case here.
		panic(fmt.Sprintf("lab: field %s has the unsupported type %s", field, v.Type()))
	}
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := "write text"
		if n.Kind == yaml.ScalarNode && n.ShortTag() != "!!null" {
			hint = fmt.Sprintf("put it in quotes: %q", n.Value)
		}
		d.addf(n, field, "is %s; %s", describe(n), hint)
		return
	}
	if strings.TrimSpace(n.Value) == "" {
		d.addf(n, field, "is empty; write something or leave the field out")
		return
	}
	v.SetString(n.Value)
	if e, ok := v.Interface().(enumerated); ok && !slices.Contains(e.values(), n.Value) {
		d.addf(n, field, "is %q; write one of %s", n.Value, strings.Join(e.values(), ", "))
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		d.addf(n, field, "is %s; write fields (%s)", describe(n), strings.Join(fieldNames(v.Type()), ", "))
		return
	}
	seen := d.keys(n, field)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, name := n.Content[i], n.Content[i].Value
		if !slices.ContainsFunc(fields(v.Type()), func(f structField) bool { return f.name == name }) {
			d.addf(key, join(field, name), "is no field of the spec; %s", Suggest(name, fieldNames(v.Type())))
		}
	}
	for _, f := range fields(v.Type()) {
		if item, ok := seen[f.name]; ok {
			d.value(item, v.Field(f.index), join(field, f.name))
		} else if f.required {
			d.addf(n, join(field, f.name), "is missing")
		}
	}
}

// keys returns the values of a mapping by key; keys that are no text or
// appear twice are problems.
func (d *decoder) keys(n *yaml.Node, field string) map[string]*yaml.Node {
	seen := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode {
			d.addf(key, field, "has a key that is %s; write a name", describe(key))
			continue
		}
		if _, ok := seen[key.Value]; ok {
			first := 0
			for n.Content[first].Value != key.Value {
				first += 2
			}
			d.addf(key, join(field, key.Value), "is there twice, first on line %d; keep one", n.Content[first].Line)
			continue
		}
		seen[key.Value] = n.Content[i+1]
	}
	return seen
}

func (d *decoder) raw(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.MappingNode {
		d.addf(n, field, "is %s; write the probe's parameters as fields", describe(n))
		return
	}
	b, err := json.Marshal(d.plain(n, field))
	if err != nil {
		d.addf(n, field, "can't be written as JSON: %v", err)
		return
	}
	v.SetBytes(b)
}

// plain turns a node into what encoding/json knows.
func (d *decoder) plain(n *yaml.Node, field string) any {
	d.nodes[field] = n
	if n = d.resolve(n, field); n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for key, item := range d.keys(n, field) {
			out[key] = d.plain(item, join(field, key))
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, item := range n.Content {
			out[i] = d.plain(item, element(field, i))
		}
		return out
	}
	if n.ShortTag() == "!!str" {
		return n.Value
	}
	var x any
	if err := n.Decode(&x); err != nil {
		d.addf(n, field, "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil
	}
	switch y := x.(type) {
	case nil, bool, int, int64, uint64, string:
		return x
	case float64:
		if math.IsNaN(y) || math.IsInf(y, 0) {
			d.addf(n, field, "is %s, which JSON can't hold; write a finite number", n.Value)
			return nil
		}
		return y
	}
	return n.Value // dates and the like are text
}

// tag is a struct field's name in the spec, and whether it must be there.
func tag(f reflect.StructField) (name string, required bool) {
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return "", false
	}
	return name, options != "omitempty"
}

// structField is one field of a struct that the spec can set.
type structField struct {
	name     string
	required bool
	index    int
}

// known keeps what reflection says of a type: a catalogue asks thousands of times.
var known sync.Map // reflect.Type → []structField

func fields(t reflect.Type) []structField {
	if list, ok := known.Load(t); ok {
		return list.([]structField)
	}
	var list []structField
	for i := range t.NumField() {
		if name, required := tag(t.Field(i)); name != "" {
			list = append(list, structField{name: name, required: required, index: i})
		}
	}
	known.Store(t, list)
	return list
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	return names
}

func element(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

func join(field, name string) string {
	if field == "" {
		return name
	}
	return field + "." + name
}

// describe names what a node is, for messages.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!str":
		return fmt.Sprintf("the text %q", n.Value)
	case "!!bool":
		return "the truth value " + n.Value
	case "!!int", "!!float":
		return "the number " + n.Value
	}
	return n.Value
}
