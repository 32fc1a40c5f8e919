// Package docs holds the words of document validation: documents, examples,
// their classes, rules and findings. It has no effects. docs/validate.md
// explains how they go together.
package docs

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Position is a place in a file. Line and Column count from 1; a column is a
// count of Unicode code points, as SARIF's "unicodeCodePoints" has it. A zero
// Column is the whole line.
type Position struct {
	Line   int `json:"line"`
	Column int `json:"column,omitempty"`
}

// Document is a Markdown file with what was found in it.
type Document struct {
	// Path is relative to the root of the run, with slashes.
	Path     string    `json:"path"`
	Examples []Example `json:"examples"`
	Marks    []Mark    `json:"marks,omitempty"`
	// Findings are those of the Markdown itself: an unclosed fence, invalid
	// UTF-8, a mark that can't be read.
	Findings []Finding `json:"findings,omitempty"`
}

// Origin says where in a document an example stands.
type Origin string

// The origins.
const (
	Fenced   Origin = "fence"    // a fenced code block
	Indented Origin = "indented" // an indented code block
	Heredoc  Origin = "heredoc"  // a here-document of a shell block that is applied
	Bare     Origin = "bare"     // YAML that stands in a shell block by itself
)

// Example is a block of code, or a stream of manifests inside one.
type Example struct {
	// Position of the opening fence, of the first line of an indented block,
	// or of the first line of a stream in a shell block. EndLine is the last
	// line that belongs to it: the closing fence, or the last line of text.
	Position
	EndLine int    `json:"endLine"`
	Origin  Origin `json:"origin"`
	// Language is the first word of the info string in lower case ("yaml",
	// "bash"); "yaml" for streams in shell blocks.
	Language string `json:"language,omitempty"`
	// Heading is the nearest heading above, as plain text.
	Heading string `json:"heading,omitempty"`
	// Text is the content without the container's indentation, lines ended
	// by "\n".
	Text string `json:"-"`
	// Lines gives for each line of Text where it stands in the file: Column
	// is where its first character stands.
	Lines []Position `json:"-"`
	// SHA256 of Text, hexadecimal.
	SHA256 string `json:"sha256"`
	Class  Class  `json:"class"`
	// Format of a config or of a fragment, "" otherwise: "compose",
	// "containerd", "kubelet", …
	Format string `json:"format,omitempty"`
	// Objects are those of an example of class kubernetes or custom, in order.
	Objects []Object `json:"objects,omitempty"`
	// Target is the namespace that the shell command names (-n), if any.
	Target string `json:"target,omitempty"`
}

// Class is what an example is.
type Class string

// The classes.
const (
	Kubernetes Class = "kubernetes" // objects of built-in APIs alone
	Custom     Class = "custom"     // at least one custom resource
	Config     Class = "config"     // configuration of something else
	Fragment   Class = "fragment"   // a part of a configuration
	Prose      Class = "prose"      // no configuration: lists, formulas, commands
	Code       Class = "code"       // another language
)

// Object is a Kubernetes object of an example.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
	// Position of the object's first line in the file.
	Position
}

// At turns a place in Text (both from 1, the column in bytes) into a place in
// the file. A line outside Text gives the nearest one.
func (e Example) At(line, column int) Position {
	if len(e.Lines) == 0 {
		return e.Position
	}
	line = min(max(line, 1), len(e.Lines))
	at := e.Lines[line-1]
	if column < 1 {
		return at
	}
	at.Column += utf8.RuneCountInString(prefix(e.Text, line, column-1))
	return at
}

// prefix gives the first n bytes of a line of text.
func prefix(text string, line, n int) string {
	start := 0
	for ; line > 1; line-- {
		end := strings.IndexByte(text[start:], '\n')
		if end < 0 {
			break
		}
		start += end + 1
	}
	return text[start:min(start+n, len(text))]
}

// Sum is the SHA256 of an example's text.
func Sum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Mark is a comment that tells labctl about an example.
type Mark struct {
	Position
	// Key is skip, expect, namespace or after; Value is what follows it.
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Example is the index of the example in the document that the mark is
	// about, -1 if there is none.
	Example int `json:"example"`
}

// Severity of a finding.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // the example doesn't do what it is for
	Warning Severity = "warning" // it may not
	Note    Severity = "note"    // worth knowing
)

// Rule is what a finding breaks.
type Rule struct {
	// ID is stable: lower-case words with hyphens.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Title says in half a sentence what is wrong.
	Title string `json:"title"`
	// Help says why it is wrong and what to do, in a few sentences.
	Help string `json:"help"`
}

// Finding is a rule broken at a place.
type Finding struct {
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	// Path of the document, as Document.Path.
	Path string `json:"path"`
	Position
	// End is where the field ends; zero if unknown.
	End Position `json:"end,omitzero"`
	// Message is one sentence about this place.
	Message string `json:"message"`
	// Field is the path of the field inside the object
	// ("spec.template.spec.containers[0].image"), if there is one.
	Field string `json:"field,omitempty"`
	// Object is "Kind namespace/name", if there is one.
	Object string `json:"object,omitempty"`
	// Example is the line of the example's opening, 0 if there is none; SHA256
	// is that of its text, for baselines.
	Example int    `json:"example,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
}

// Report is what a run of validation gives.
type Report struct {
	// Labctl is the version of the program, Server that of the API server
	// that judged ("" if none did).
	Labctl string `json:"labctl"`
	Server string `json:"server,omitempty"`
	// Root is the folder as the user named it; paths are relative to it.
	Root      string `json:"root"`
	Documents int    `json:"documents"`
	// Examples counts them by class.
	Examples map[Class]int `json:"examples"`
	// Findings that count, sorted by path, line, column and rule; Baseline
	// and Skipped are the counts of those left out by a baseline or a mark.
	Findings []Finding `json:"findings"`
	Baseline int       `json:"baseline,omitempty"`
	Skipped  int       `json:"skipped,omitempty"`
	// Rules are all that could have been broken, sorted by id.
	Rules []Rule `json:"rules"`
}
