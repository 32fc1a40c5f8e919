// Package drift compares what labs say about documents with the documents as
// they are now: each claim and each example is tied to lines of text.
package drift

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/lab"
)

// Kind of the JSON report.
const Kind = "DocsDrift"

// Rules are what a tie can break. A text that moved breaks nothing, but the
// lab's line is wrong.
var Rules = []docs.Rule{
	{ID: "drift-changed", Severity: docs.Error, Title: "the text that a lab is tied to changed",
		Help: "A claim or an example of a lab is about this text, which isn't there any more word by word, or stands under another heading. Read it again: does the claim still say what it says? Then write the new line, heading and digest into the lab; labctl lint --docs DIR names the digest."},
	{ID: "drift-gone", Severity: docs.Error, Title: "the text that a lab is tied to is gone",
		Help: "Neither the text nor its heading is in the document. Tie the claim to where it is said now, or drop it from the lab."},
	{ID: "drift-moved", Severity: docs.Note, Title: "the text that a lab is tied to moved",
		Help: "The text is the same, under its heading, at another line. labctl docs drift --fix writes the new line into the lab."},
}

// Report says of every tie of every lab what became of it.
type Report struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Root is the folder of the documents, as the user named it.
	Root string `json:"root"`
	// Counts counts ties by what became of them.
	Counts map[lab.Drift]int `json:"counts"`
	Ties   []Tie             `json:"ties"`
}

// Tie is what became of one.
type Tie struct {
	Lab string `json:"lab"`
	// ID of the claim, or the manifest of the example.
	ID string `json:"id"`
	// File, FileLine and FileColumn are where the lab names the line.
	File       string `json:"file"`
	FileLine   int    `json:"fileLine"`
	FileColumn int    `json:"fileColumn"`
	// Path of the document, and the line that the lab names.
	Path  string    `json:"path"`
	Line  int       `json:"line"`
	Drift lab.Drift `json:"drift"`
	// Now is the line where the text is or what replaced it, 0 if it is gone.
	Now int `json:"now,omitempty"`
	// Message says what happened, unless nothing did.
	Message string `json:"message,omitempty"`
}

// Check looks for the texts of all labs' ties in the documents. One that isn't
// there is gone; one that can't be read for another reason is an error.
func Check(labs []*lab.Lab, documents fs.FS, root string) (Report, error) {
	r := Report{APIVersion: lab.APIVersion, Kind: Kind, Root: root, Counts: map[lab.Drift]int{}, Ties: []Tie{}}
	read := map[string][]string{}
	for _, l := range labs {
		for i, t := range l.Ties() {
			lines, ok := read[t.Document]
			if !ok {
				data, err := fs.ReadFile(documents, t.Document)
				switch {
				case err == nil:
					lines = lab.Lines(data)
				case !errors.Is(err, fs.ErrNotExist):
					return r, fmt.Errorf("read the document of lab %s: %w", l.Metadata.Name, err)
				}
				read[t.Document] = lines
			}
			tie := one(t, lines)
			tie.Lab, tie.ID, tie.File = l.Metadata.Name, id(l, i), l.File()
			at := l.At(t.Field + ".line")
			tie.FileLine, tie.FileColumn = at.Line, at.Column
			r.Counts[tie.Drift]++
			r.Ties = append(r.Ties, tie)
		}
	}
	slices.SortStableFunc(r.Ties, func(a, b Tie) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(cmp.Or(a.Now, a.Line), cmp.Or(b.Now, b.Line)), cmp.Compare(a.ID, b.ID))
	})
	return r, nil
}

// id is the name of a lab's nth tie: claims come first, then examples.
func id(l *lab.Lab, n int) string {
	if n < len(l.Spec.Claims) {
		return l.Spec.Claims[n].ID
	}
	return l.Spec.Examples[n-len(l.Spec.Claims)].Manifest
}

// one looks for one text; nil lines are a document that isn't there.
func one(t lab.Tie, lines []string) Tie {
	out := Tie{Path: t.Document, Line: t.Line}
	if lines == nil {
		out.Drift, out.Message = lab.Gone, "there is no such document any more"
		return out
	}
	place := t.Find(lines)
	out.Drift, out.Now = place.Drift, place.Line
	switch {
	case place.Drift == lab.Moved:
		out.Message = fmt.Sprintf("the text moved from line %d to line %d", t.Line, place.Line)
	case place.Drift == lab.Changed && place.Found:
		out.Message = fmt.Sprintf("the text is at line %d, under the heading %q instead of %q", place.Line, place.Heading, t.Heading)
	case place.Drift == lab.Changed:
		out.Message = fmt.Sprintf("the text of line %d changed; look under the heading %q", t.Line, place.Heading)
	case place.Drift == lab.Gone:
		out.Message = fmt.Sprintf("neither the text of line %d nor the heading %q is there any more", t.Line, t.Heading)
	}
	return out
}

// OK says that no text changed and none is gone.
func (r Report) OK() bool { return r.Counts[lab.Changed]+r.Counts[lab.Gone] == 0 }

// Findings are the ties that aren't what they were, for the reports of
// pkg/docs/report.
func (r Report) Findings(version string) docs.Report {
	out := docs.Report{Labctl: version, Root: r.Root, Rules: Rules, Examples: map[docs.Class]int{}, Findings: []docs.Finding{}}
	severity := map[lab.Drift]docs.Severity{lab.Moved: docs.Note, lab.Changed: docs.Error, lab.Gone: docs.Error}
	paths := map[string]bool{}
	for _, t := range r.Ties {
		paths[t.Path] = true
		if t.Drift == lab.Unchanged {
			continue
		}
		out.Findings = append(out.Findings, docs.Finding{
			Rule: "drift-" + string(t.Drift), Severity: severity[t.Drift], Path: t.Path, Position: docs.Position{Line: t.Now},
			Message: fmt.Sprintf("%s of lab %s: %s (%s:%d:%d)", t.ID, t.Lab, t.Message, t.File, t.FileLine, t.FileColumn),
		})
	}
	out.Documents = len(paths)
	return out
}
