package extract

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// FuzzMarkdown checks what holds for every document: all places are in the
// file, the text of an example stands where it says, and nothing depends on
// chance. The corpora of seeds are in testdata/fuzz.
func FuzzMarkdown(f *testing.F) {
	for _, make := range hostile {
		f.Add([]byte(make(300)), false)
	}
	for _, c := range blockCases {
		f.Add([]byte(c.text), true)
	}
	for _, c := range markCases {
		f.Add([]byte(c.text), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, mdx bool) {
		path := "a.md"
		if mdx {
			path = "a.mdx"
		}
		before := bytes.Clone(data)
		d := Markdown(path, data)
		if !bytes.Equal(before, data) {
			t.Fatal("the input was changed")
		}
		if !reflect.DeepEqual(d, Markdown(path, data)) {
			t.Fatal("the same input gave two results")
		}
		checkDocument(t, d, (&document{}).read(data).text)
	})
}

// checkDocument checks a document against its text, as it was read.
func checkDocument(t *testing.T, d docs.Document, text []byte) {
	t.Helper()
	var lines [][]rune
	for line := range strings.Lines(string(text)) {
		lines = append(lines, []rune(strings.TrimRight(line, "\r\n")))
	}
	inside := func(what string, at docs.Position) {
		t.Helper()
		if at == (docs.Position{Line: 1, Column: 1}) || at == (docs.Position{Line: 1}) {
			return // also of an empty file
		}
		if at.Line < 1 || at.Line > len(lines) || at.Column < 1 || at.Column > len(lines[at.Line-1])+1 {
			t.Fatalf("%s: %+v isn't in the file", what, at)
		}
	}
	for i, e := range d.Examples {
		inside("example", e.Position)
		if strings.TrimSpace(e.Text) == "" && e.Text == "" || !strings.HasSuffix(e.Text, "\n") || !utf8.ValidString(e.Text) || e.SHA256 != docs.Sum(e.Text) {
			t.Fatalf("%+v", e)
		}
		if i > 0 && before(e.Position, d.Examples[i-1].Position) {
			t.Fatalf("%+v stands before %+v", e, d.Examples[i-1])
		}
		if e.EndLine < e.Line || e.EndLine > len(lines) {
			t.Fatalf("from line %d to %d", e.Line, e.EndLine)
		}
		parts := strings.Split(strings.TrimSuffix(e.Text, "\n"), "\n")
		if len(parts) != len(e.Lines) {
			t.Fatalf("%d lines, %d places: %q", len(parts), len(e.Lines), e.Text)
		}
		for j, part := range parts {
			at := e.Lines[j]
			inside("line", at)
			line := lines[at.Line-1]
			if slices.Contains(line, '\t') || e.Origin == docs.Heredoc && slices.Contains(line, '\\') {
				continue // stands for less or more than itself
			}
			if !strings.HasPrefix(string(line[at.Column-1:]), part) {
				t.Fatalf("%d:%d: %q doesn't begin with %q", at.Line, at.Column, string(line), part)
			}
		}
	}
	for _, m := range d.Marks {
		inside("mark", m.Position)
		if m.Example < -1 || m.Example >= len(d.Examples) {
			t.Fatalf("%+v of %d examples", m, len(d.Examples))
		}
	}
	for _, finding := range d.Findings {
		inside(finding.Rule, finding.Position)
		if !utf8.ValidString(finding.Message) {
			t.Fatalf("%q", finding.Message)
		}
	}
}

// FuzzShell checks that streams of a shell block are lines of it.
func FuzzShell(f *testing.F) {
	for _, c := range streamCases {
		f.Add(c.script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		if len(script) > maxScript {
			return
		}
		text := strings.ReplaceAll(strings.ToValidUTF8(script, "?"), "\r", "\n") + "\n"
		e := docs.Example{Position: docs.Position{Line: 1, Column: 1}, Origin: docs.Fenced, Language: "sh", Text: text, SHA256: docs.Sum(text)}
		for i := range strings.Count(text, "\n") {
			e.Lines = append(e.Lines, docs.Position{Line: i + 1, Column: 1})
		}
		e.EndLine = len(e.Lines)
		d := &document{Document: docs.Document{Path: "a.md", Examples: []docs.Example{e}}}
		d.streams()
		checkDocument(t, d.Document, []byte(text))
		if len(d.Examples) == 0 || !reflect.DeepEqual(d.Examples[0], e) {
			t.Fatal("the block itself is gone")
		}
	})
}

// FuzzMarks checks that a mark that is read means the same when it is written
// anew.
func FuzzMarks(f *testing.F) {
	for text := range goodMarks {
		f.Add(text)
	}
	for text := range badMarks {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		m, problem := parseMark(text)
		if problem != "" {
			if !utf8.ValidString(problem) || len(problem) > 1000 {
				t.Fatalf("%q", problem)
			}
			return
		}
		written := m.Key + ": " + m.Value
		if quote := `"`; m.Reason != "" {
			if strings.Contains(m.Reason, quote) {
				quote = "'"
			}
			written += " reason=" + quote + m.Reason + quote
		}
		if again, problem := parseMark(written); problem != "" || again != m {
			t.Fatalf("%q gives %+v, %q gives %+v, %s", text, m, written, again, problem)
		}
	})
}
