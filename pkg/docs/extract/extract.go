// Package extract finds the examples of a Markdown document: fenced and
// indented blocks of code, streams of manifests inside shell blocks, and the
// marks that comments make about them. It has no effects, and time and memory
// are bounded for every input: what is left out because of a limit is a
// finding.
//
// Blocks are those of CommonMark (https://spec.commonmark.org/0.31.2/), with
// front matter left out and admonitions of Python-Markdown taken as containers.
package extract

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// The limits of a document. What is beyond them is named by a finding.
const (
	// MaxSize is the size in bytes above which a document isn't parsed.
	MaxSize = 10 << 20
	// MaxLines is the number of lines above which a document isn't parsed; a
	// line costs some hundred bytes of memory while a document is parsed.
	MaxLines = 200_000
	// MaxExamples is the number of examples after which no more are taken.
	MaxExamples = 20_000
	// maxFindings is how many findings of a document are kept.
	maxFindings = 1000
)

// Markdown gives the examples, marks and findings of a document. Path is only
// handed on, except that its ending .mdx tells that the document is MDX.
func Markdown(path string, data []byte) docs.Document {
	d := &document{Document: docs.Document{Path: path}, mdx: strings.EqualFold(filepath.Ext(path), ".mdx")}
	if len(data) > MaxSize {
		d.find(tooLarge, docs.Position{Line: 1}, fmt.Sprintf(
			"The document has more than %d bytes and isn't looked at; split it.", MaxSize))
		return d.Document
	}
	ends := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) - bytes.Count(data, []byte("\r\n"))
	if ends > MaxLines {
		d.find(tooLarge, docs.Position{Line: 1}, fmt.Sprintf(
			"The document has more than %d lines and isn't looked at; split it.", MaxLines))
		return d.Document
	}
	d.source = d.read(data)
	d.blocks()
	d.streams()
	d.attach()
	slices.SortStableFunc(d.Findings, func(a, b docs.Finding) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return d.Document
}

// document is one that is being read.
type document struct {
	docs.Document
	mdx    bool
	source source
	// comments are those that hold a mark, in order.
	comments []comment
	headings []docs.Position
	// heading is the last one whose plain text was wanted.
	heading struct {
		raw  []byte
		text string
	}
	found int
	full  bool
}

// find adds a finding.
func (d *document) find(rule docs.Rule, at docs.Position, message string) {
	d.findIn(nil, rule, at, message)
}

// findIn adds a finding about an example.
func (d *document) findIn(e *docs.Example, rule docs.Rule, at docs.Position, message string) {
	d.found++
	switch {
	case d.found > maxFindings:
		return
	case d.found == maxFindings:
		rule, message = tooLarge, fmt.Sprintf("The document has more than %d findings of its Markdown; the rest are left out.", maxFindings)
		e = nil
	}
	f := docs.Finding{Rule: rule.ID, Severity: rule.Severity, Path: d.Path, Position: at, Message: message}
	if e != nil {
		f.Example, f.SHA256 = e.Line, e.SHA256
	}
	d.Findings = append(d.Findings, f)
}
