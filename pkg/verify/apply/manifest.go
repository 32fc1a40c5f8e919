package apply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Object is one object of a manifest file, with where it stands there.
type Object struct {
	*unstructured.Unstructured
	File string
	// Home is the namespace that it goes to if it has one and names none; the
	// session's first if empty.
	Home string
	node *yaml.Node
}

// Inline is an object that doesn't come from a file; where says what it comes
// from, in errors.
func Inline(where string, content map[string]any) (Object, error) {
	o := Object{Unstructured: &unstructured.Unstructured{Object: content}, File: where}
	if o.GetAPIVersion() == "" || o.GetKind() == "" {
		return Object{}, fmt.Errorf("%s: is no Kubernetes object: apiVersion or kind is missing", where)
	}
	return o, nil
}

// Line is where the object begins, from 1; 0 where it has no file.
func (o Object) Line() int {
	if o.node == nil {
		return 0
	}
	return o.node.Line
}

// At is where the object begins: file and line, or what it comes from.
func (o Object) At() string {
	if o.node == nil {
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line())
}

func (o Object) String() string { return o.GetKind() + " " + o.GetName() }

// errorf makes an error that begins with file and line.
func (o Object) errorf(line int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if line == 0 {
		return fmt.Errorf("%s: %s: %w", o.File, o, err)
	}
	return fmt.Errorf("%s:%d: %s: %w", o.File, line, o, err)
}

// Parse reads the objects of a manifest file, YAML documents split by ---.
func Parse(fsys fs.FS, path string) ([]Object, error) {
	data, err := fs.ReadFile(fsys, path)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	var objects []Object
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, syntax(path, err)
		}
		node := doc.Content[0]
		if node.ShortTag() == "!!null" {
			continue // nothing between two separators
		}
		o, err := object(path, node)
		if err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
}

func object(path string, node *yaml.Node) (Object, error) {
	var content map[string]any
	if err := node.Decode(&content); err != nil {
		return Object{}, syntax(path, err)
	}
	data, err := json.Marshal(content)
	if err != nil {
		return Object{}, fmt.Errorf("%s:%d: can't be written as JSON: %w", path, node.Line, err)
	}
	o := Object{Unstructured: &unstructured.Unstructured{}, File: path, node: node}
	if err := o.UnmarshalJSON(data); err != nil {
		return Object{}, fmt.Errorf("%s:%d: is no Kubernetes object: %w", path, node.Line, err)
	}
	switch {
	case o.GetAPIVersion() == "":
		return Object{}, fmt.Errorf("%s:%d: apiVersion is missing", path, node.Line)
	case o.IsList():
		return Object{}, fmt.Errorf("%s:%d: is a %s; write its items as objects of their own, split by ---", path, node.Line, o.GetKind())
	case o.GetName() == "":
		return Object{}, fmt.Errorf("%s:%d: %s has no metadata.name; server-side apply needs one", path, node.Line, o.GetKind())
	}
	return o, nil
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// syntax puts the line that the parser's error holds in front.
func syntax(path string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		line, rest := text[m[2]:m[3]], strings.TrimSpace(text[m[1]:])
		return fmt.Errorf("%s:%s: is not YAML: %s", path, line, rest)
	}
	return fmt.Errorf("%s: is not YAML: %s", path, text)
}

// fieldPath matches the paths of fields in the messages of the API server:
// spec.containers[0].image, .spec.ports[name="web"].port.
var fieldPath = regexp.MustCompile(`[A-Za-z]\w*(?:\.[A-Za-z][\w-]*|\[[^\]]+\])+`)

var pathStep = regexp.MustCompile(`[A-Za-z][\w-]*|\[[^\]]+\]`)

// lineOf finds the line of the field that a message speaks of: the deepest
// one in the manifest that a path in it leads to, else the object's own.
func (o Object) lineOf(paths ...string) int {
	if o.node == nil {
		return 0
	}
	line, deepest := o.Line(), 0
	for _, text := range paths {
		for _, path := range fieldPath.FindAllString(text, -1) {
			if l, depth := follow(o.node, pathStep.FindAllString(path, -1)); depth > deepest {
				line, deepest = l, depth
			}
		}
	}
	return line
}

// follow walks a path as far as the node has it; it returns the line of the
// last field that was there, and how many were.
func follow(n *yaml.Node, steps []string) (line, depth int) {
	line = n.Line
	for _, step := range steps {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		key, value := child(n, step)
		if value == nil {
			break
		}
		line, n = key.Line, value
		depth++
	}
	return line, depth
}

// child finds a field (name), an item ([0]) or an item by key ([name="web"]).
func child(n *yaml.Node, step string) (key, value *yaml.Node) {
	selector, indexed := strings.CutPrefix(step, "[")
	selector = strings.TrimSuffix(selector, "]")
	switch {
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == strings.Trim(selector, `"`) {
				return n.Content[i], n.Content[i+1]
			}
		}
	case n.Kind == yaml.SequenceNode && indexed:
		if i, err := strconv.Atoi(selector); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], n.Content[i]
		}
		name, want, _ := strings.Cut(selector, "=")
		for _, item := range n.Content {
			if item.Kind != yaml.MappingNode {
				continue
			}
			if _, v := child(item, name); v != nil && v.Value == strings.Trim(want, `"`) {
				return item, item
			}
		}
	}
	return nil, nil
}
