// Package formats finds what is wrong in configuration that no API server
// judges: each format is read by its own library (Rego by OPA, PromQL by
// Prometheus, Dockerfiles by BuildKit, …), and what that library refuses is a
// finding with the line and the column inside the document. Nothing is
// executed, and no file and no environment variable is read.
package formats

import (
	"fmt"
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

const (
	// maxText is the size in bytes of a text that is given to a library, and
	// maxNesting how deep its brackets may be: these parsers are recursive,
	// and some of them need time that grows with the square of it.
	maxText    = 64 << 10
	maxNesting = 200
	// maxFindings is how many findings of one text are reported.
	maxFindings = 20
)

// format is a kind of configuration: its rules, whether a text is one, and
// what is wrong with it.
type format struct {
	name  string
	rules []docs.Rule
	// is says whether check has anything to say about the text.
	is    func(text) bool
	check func(text) []docs.Finding
}

var all = []format{rego, promql, dockerfile, tomlFormat, containerd, yamlFormat, jsonFormat, compose, otel, prometheus, componentConfig}

var unchecked = docs.Rule{
	ID: "format-unchecked", Severity: docs.Note,
	Title: "an example isn't judged because its format's library can't take it",
	Help: "The example is larger or nested deeper than what is given to the library of its format, or the library broke on it. " +
		"It may be right or wrong. Make it smaller, or report the failure of the library to its project.",
}

// Rules are those of all formats.
var Rules = rules()

func rules() []docs.Rule {
	found := []docs.Rule{unchecked}
	for _, f := range all {
		found = append(found, f.rules...)
	}
	return found
}

// Check gives the findings of all examples of a document; parsed[i] belongs
// to d.Examples[i].
func Check(d docs.Document, parsed [][]yamldoc.Doc) []docs.Finding {
	var found []docs.Finding
	for i := range d.Examples {
		for _, t := range texts(d.Path, &d.Examples[i], parsed[i]) {
			for _, f := range all {
				if f.is(t) {
					found = append(found, run(f, t)...)
				}
			}
		}
	}
	return found
}

// run calls a format's library. These are parsers of other projects that get
// whatever stands in a document, so one that panics is a note, no crash.
func run(f format, t text) (found []docs.Finding) {
	defer func() {
		if r := recover(); r != nil {
			found = []docs.Finding{t.finding(unchecked, 0, 0, "the library for %s broke on this example: %v", f.name, r)}
		}
	}()
	if len(t.Text) > maxText {
		return []docs.Finding{t.finding(unchecked, 0, 0, "the text has %d bytes; no more than %d are judged as %s", len(t.Text), maxText, f.name)}
	}
	if nesting(t.Text) > maxNesting {
		return []docs.Finding{t.finding(unchecked, 0, 0, "the text has brackets nested deeper than %d, too deep to be judged as %s", maxNesting, f.name)}
	}
	found = f.check(t)
	if len(found) > maxFindings {
		rest := len(found) - maxFindings
		found = append(slices.Clip(found[:maxFindings]),
			t.finding(unchecked, 0, 0, "%d more findings of %s in this example aren't listed", rest, f.name))
	}
	return found
}

// nesting is how deep brackets stand in brackets. Those in quotes count too,
// which can only be too many.
func nesting(s string) int {
	depth, deepest := 0, 0
	for i := range len(s) {
		switch s[i] {
		case '(', '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}

// finding is one at a line and a column of the text, both from 1; a line of 0
// is the example as a whole, a column of 0 the whole line.
func (t text) finding(r docs.Rule, line, column int, message string, args ...any) docs.Finding {
	at := t.example.Position
	if line > 0 {
		if !t.exact {
			column = 0
		}
		at = t.At(line, column)
	}
	return docs.Finding{
		Rule: r.ID, Severity: r.Severity, Path: t.path, Position: at,
		Message: oneLine(fmt.Sprintf(message, args...)), Field: t.field, Object: t.object,
		Example: t.example.Line, SHA256: t.example.SHA256,
	}
}
