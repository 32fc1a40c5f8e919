package formats

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// first is the line of the file on which the text of an example begins, and
// left how many columns the list around it takes.
const (
	first = 11
	left  = 3
)

func example(language, content string) docs.Example {
	content = strings.TrimPrefix(content, "\n")
	e := docs.Example{Position: docs.Position{Line: first - 1, Column: left + 1}, Language: language, Text: content, SHA256: docs.Sum(content)}
	for i := range strings.Count(content, "\n") {
		e.Lines = append(e.Lines, docs.Position{Line: first + i, Column: left + 1})
	}
	return e
}

func check(e docs.Example) []docs.Finding {
	var parsed []yamldoc.Doc
	if e.Language == "yaml" {
		parsed = yamldoc.Parse(e.Text)
	}
	return Check(docs.Document{Path: "a.md", Examples: []docs.Example{e}}, [][]yamldoc.Doc{parsed})
}

// testCase is an example and what is found in it: "rule line:column", places
// in the example's text, and a part of the first message.
type testCase struct {
	name, language, format string
	content                string
	want                   []string
	message                string
	field                  string
}

func run1(t *testing.T, cases []testCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := example(c.language, c.content)
			e.Class, e.Format = docs.Config, c.format
			found := check(e)
			var got []string
			for _, f := range found {
				line, column := f.Line-first+1, f.Column-left
				got = append(got, fmt.Sprintf("%s %d:%d", f.Rule, line, column))
				if f.Path != "a.md" || f.Example != first-1 || f.SHA256 != e.SHA256 {
					t.Errorf("the finding has not the example's path, line and hash: %+v", f)
				}
			}
			if strings.Join(got, ", ") != strings.Join(c.want, ", ") {
				t.Fatalf("found %q, want %q; messages %q", got, c.want, messages(found))
			}
			if len(found) > 0 && !strings.Contains(found[0].Message, c.message) {
				t.Errorf("the message %q doesn't have %q", found[0].Message, c.message)
			}
			if len(found) > 0 && found[0].Field != c.field {
				t.Errorf("the field is %q, want %q", found[0].Field, c.field)
			}
		})
	}
}

func messages(found []docs.Finding) (m []string) {
	for _, f := range found {
		m = append(m, f.Message)
	}
	return m
}

func TestRulesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.ID == "" || r.Severity == "" || r.Title == "" || r.Help == "" || seen[r.ID] {
			t.Errorf("the rule %+v lacks a part, or its id stands twice", r)
		}
		seen[r.ID] = true
	}
}

func TestTextTooLargeOrTooDeepIsANote(t *testing.T) {
	run1(t, []testCase{
		{name: "large", language: "rego", content: "package a\n" + strings.Repeat("# comment\n", maxText/10), want: []string{"format-unchecked 0:1"}, message: "bytes"},
		{name: "deep", language: "promql", content: strings.Repeat("(", 60_000) + "\n", want: []string{"format-unchecked 0:1"}, message: "nested deeper"},
	})
}

func TestPanicOfALibraryIsANote(t *testing.T) {
	e := example("rego", "package a\n")
	broken := format{name: "broken", check: func(text) []docs.Finding { panic("a bug") }}
	found := run(broken, text{Example: e, example: &e, path: "a.md"})
	if len(found) != 1 || found[0].Rule != unchecked.ID || !strings.Contains(found[0].Message, "a bug") {
		t.Errorf("found %+v", found)
	}
}

func TestManyFindingsAreCut(t *testing.T) {
	found := check(example("dockerfile", "FROM scratch\n"+strings.Repeat("MAINTAINER me\n", 100)))
	if len(found) != maxFindings+1 || found[maxFindings].Rule != unchecked.ID {
		t.Errorf("%d findings", len(found))
	}
}
