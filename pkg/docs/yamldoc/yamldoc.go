// Package yamldoc reads YAML text as documents that know where each of their
// fields stands. It goes on after a broken document, and time and memory are
// bounded whatever the text is.
//
// Lines and columns count from 1 in the text that was parsed; a line ends at
// "\n", a column is a count of bytes.
package yamldoc

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
)

const (
	// maxText is the size of a text in bytes that is parsed. It is what etcd
	// takes as a request (--max-request-bytes), so no object is larger.
	maxText = 3 << 19
	// maxDocuments is how many documents of a stream are parsed.
	maxDocuments = 10_000
	// maxDuplicates is how many duplicate keys of a document are named.
	maxDuplicates = 100
)

// Doc is one YAML document of a stream.
type Doc struct {
	// Node is the content, nil if the document is broken. Lines and columns of
	// all its nodes are places in the text that Parse got.
	Node *yaml.Node
	// Line and EndLine are the first and the last line with content.
	Line, EndLine int
	// Err says why the document is broken, at ErrLine and ErrColumn (0 if the
	// whole line is meant).
	Err                error
	ErrLine, ErrColumn int
	// Duplicates are the first hundred keys that stand in their mapping already.
	Duplicates []Duplicate

	text string
	// first is the line of the stream on which text starts.
	first int
}

// Duplicate is a key that is there twice. Readers of YAML keep
// the last one or refuse the document.
type Duplicate struct {
	// Path of the field as Kubernetes writes it: "spec.containers[0].image".
	Path         string
	Line, Column int
	// FirstLine is where the key stands for the first time.
	FirstLine int
}

// Parse reads all documents of a stream. Documents without content are left
// out. A document that isn't YAML has an error; those after it are read.
func Parse(text string) []Doc {
	if len(text) > maxText {
		return []Doc{{
			Line: 1, EndLine: 1, first: 1, ErrLine: 1,
			Err: fmt.Errorf("the text has %d bytes; no more than %d are read as YAML", len(text), maxText),
		}}
	}
	var found []Doc
	for _, s := range split(text) {
		if len(found) == maxDocuments {
			return append(found, Doc{
				Line: s.line, EndLine: s.line, first: s.line, ErrLine: s.line,
				Err: fmt.Errorf("the stream has more than %d documents; the rest isn't read", maxDocuments),
			})
		}
		if d, ok := read(s); ok {
			found = append(found, d)
		}
	}
	return found
}

// Split gives the objects of a document in which the "---" between them is
// missing, so that apiVersion and kind stand in one mapping several times.
// For any other document it gives the document itself.
func (d Doc) Split() []Doc {
	if d.Node == nil || d.Node.Kind != yaml.MappingNode || d.Node.Style&yaml.FlowStyle != 0 {
		return []Doc{d}
	}
	var starts []int // lines
	var seen map[string]bool
	for i := 0; i < len(d.Node.Content); i += 2 {
		key := d.Node.Content[i]
		if key.Value != "apiVersion" && key.Value != "kind" {
			if len(starts) == 0 {
				return []Doc{d}
			}
			continue
		}
		if len(seen) == 2 || len(starts) == 0 {
			starts, seen = append(starts, key.Line), map[string]bool{}
		}
		if seen[key.Value] {
			return []Doc{d} // the same key twice, and not the other one: another mistake
		}
		seen[key.Value] = true
	}
	if len(starts) < 2 || len(seen) != 2 {
		return []Doc{d}
	}
	lines := strings.SplitAfter(d.text, "\n")
	var parts []Doc
	for i, start := range starts {
		end := d.first + len(lines)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		part, ok := read(segment{strings.Join(lines[start-d.first:end-d.first], ""), start})
		if !ok || part.Err != nil { // an anchor of another part, for example
			return []Doc{d}
		}
		parts = append(parts, part)
	}
	return parts
}

// Object gives what the document says of the object that it is; ok is false
// if apiVersion and kind aren't both strings. Its position is one in the text.
func (d Doc) Object() (o docs.Object, ok bool) {
	o.APIVersion, o.Kind = d.str("apiVersion"), d.str("kind")
	if o.APIVersion == "" || o.Kind == "" {
		return docs.Object{}, false
	}
	o.Name, o.Namespace = d.str("metadata.name"), d.str("metadata.namespace")
	o.Line, o.Column = d.Node.Line, d.Node.Column
	return o, true
}

// str gives the value of a field that is a string, "" for any other.
func (d Doc) str(path string) string {
	n := d.Value(path)
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		return ""
	}
	return n.Value
}

// read parses one document; ok is false if it has no content.
func read(s segment) (d Doc, ok bool) {
	d = Doc{text: s.text, first: s.line}
	d.Line, d.EndLine = extent(s)
	if d.Line == 0 {
		return Doc{}, false
	}
	root, err := decode(s.text)
	switch {
	case err != nil:
		d.ErrLine, d.ErrColumn, d.Err = locate(s, err)
		return d, true
	case root == nil:
		return Doc{}, false
	}
	d.Node = root
	place(root, s)
	d.Line = root.Line
	d.Duplicates = duplicates(root)
	return d, true
}

// version is a directive that gives the version of YAML.
var version = regexp.MustCompile(`(?m)^%YAML`)

// decode parses a text that has one document.
func decode(text string) (root *yaml.Node, err error) {
	// The library turns its own panics into errors, but not those of a bug.
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("%v", r)
		}
	}()
	// The library knows YAML 1.1 by number only, and reads most of 1.2.
	if strings.Contains(text, "%YAML") {
		text = version.ReplaceAllString(text, "#YAML")
	}
	var document, more yaml.Node
	decoder := yaml.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	switch err := decoder.Decode(&more); {
	case err == nil:
		return nil, errors.New("did not find expected end of the document")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) == 0 {
		return nil, nil
	}
	return document.Content[0], nil
}

func duplicates(root *yaml.Node) []Duplicate {
	var found []Duplicate
	walk(root, nil, func(n *yaml.Node, at *step) {
		if n.Kind != yaml.MappingNode || len(found) == maxDuplicates {
			return
		}
		first := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				continue
			}
			if before := first[key.Value]; before != nil && len(found) < maxDuplicates {
				found = append(found, Duplicate{at.field(key.Value).path(), key.Line, key.Column, before.Line})
				continue
			}
			first[key.Value] = key
		}
	})
	return found
}

// walk calls f for a node and all below it; aliases aren't followed.
func walk(n *yaml.Node, at *step, f func(*yaml.Node, *step)) {
	f(n, at)
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			walk(n.Content[i], at.field(n.Content[i].Value), f)
			walk(n.Content[i+1], at.field(n.Content[i].Value), f)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			walk(item, &step{parent: at, index: i}, f)
		}
	}
}
