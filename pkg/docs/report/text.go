package report

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// SGR codes (ECMA-48 8.3.117).
const (
	bold  = "\x1b[1m"
	faint = "\x1b[2m"
	reset = "\x1b[0m"
)

var colors = map[docs.Severity]string{docs.Error: "\x1b[31m", docs.Warning: "\x1b[33m", docs.Note: "\x1b[36m"}

// excerptWidth is how many cells of a line are shown around a column.
const excerptWidth = 100

// Text is for people and for editors: Findings, and a summary.
func Text(w io.Writer, r docs.Report, o Options) error {
	if err := Findings(w, r, o); err != nil {
		return err
	}
	t := &text{w: w, o: o}
	t.summary(r)
	return t.err
}

// Findings is a line a finding with its place, and the line of the document
// with the field marked; an empty line ends the findings of each document.
func Findings(w io.Writer, r docs.Report, o Options) error {
	t := &text{w: w, o: o}
	var source *lines
	for i, f := range r.Findings {
		if i == 0 || f.Path != r.Findings[i-1].Path {
			source = o.open(f.Path)
		}
		t.finding(f, source)
		if i+1 == len(r.Findings) || f.Path != r.Findings[i+1].Path {
			t.printf("\n")
		}
	}
	return t.err
}

// text keeps the first error of many writes.
type text struct {
	w   io.Writer
	o   Options
	err error
}

func (t *text) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

func (t *text) style(code, s string) string {
	if !t.o.Color {
		return s
	}
	return code + s + reset
}

func (t *text) finding(f docs.Finding, source *lines) {
	t.printf("%s: %s %s: %s\n", t.style(bold, printable(t.o.file(f.Path))+place(f.Position)),
		t.style(colors[f.Severity], string(f.Severity)), f.Rule, printable(f.Message))
	line, ok := source.at(f.Line)
	if ok {
		number := strconv.Itoa(f.Line)
		shown, marks := excerpt(line, f.Position, f.End)
		t.printf("  %s %s\n", t.style(faint, number+" |"), shown)
		if marks != "" {
			t.printf("  %s %s\n", t.style(faint, strings.Repeat(" ", len(number))+" |"), t.style(colors[f.Severity], marks))
		}
	}
	if where := strings.TrimSpace(f.Object + " " + f.Field); where != "" {
		t.printf("  %s\n", t.style(faint, "= "+printable(where)))
	}
}

// place is what follows a path; nothing for a whole file.
func place(p docs.Position) string {
	switch {
	case p.Line < 1:
		return ""
	case p.Column < 1:
		return fmt.Sprintf(":%d", p.Line)
	}
	return fmt.Sprintf(":%d:%d", p.Line, p.Column)
}

func (t *text) summary(r docs.Report) {
	examples := 0
	for _, n := range r.Examples {
		examples += n
	}
	n := count(r.Findings)
	t.printf("%s, %s: ", plural(r.Documents, "document"), plural(examples, "example"))
	if len(r.Findings) == 0 {
		t.printf("no findings")
	} else {
		t.printf("%s, %s, %s", plural(n[docs.Error], "error"), plural(n[docs.Warning], "warning"), plural(n[docs.Note], "note"))
	}
	if r.Baseline > 0 {
		t.printf("; %d more in the baseline", r.Baseline)
	}
	if r.Skipped > 0 {
		t.printf("; %s skipped by marks", plural(r.Skipped, "example"))
	}
	if r.Server != "" {
		t.printf("; judged by Kubernetes %s", printable(r.Server))
	}
	t.printf("\n")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// excerpt is a line as a terminal shows it, cut to what is around the place,
// and the marks that stand below the field.
func excerpt(line string, at, end docs.Position) (shown, marks string) {
	last := at.Column
	if end.Line == at.Line && end.Column > at.Column {
		last = end.Column - 1
	}
	var before, field, after strings.Builder
	column := 0
	for _, r := range line { // a byte that isn't UTF-8 is one code point here, as for the column
		column++
		b := &before
		switch {
		case at.Column < 1 || column > last:
			b = &after
		case column >= at.Column:
			b = &field
		}
		if r == '\t' {
			b.WriteString("    ")
		} else {
			b.WriteString(printable(string(r)))
		}
		if b.Len() > 16*excerptWidth && b == &after {
			break
		}
	}
	left, middle, right := before.String(), field.String(), after.String()
	if w := excerptWidth / 2; runewidth.StringWidth(left) > w {
		left = runewidth.TruncateLeft(left, runewidth.StringWidth(left)-w, "…")
	}
	middle = runewidth.Truncate(middle, excerptWidth, "…")
	right = runewidth.Truncate(right, max(excerptWidth-runewidth.StringWidth(left+middle), 1), "…")
	if at.Column > 0 {
		marks = strings.Repeat(" ", runewidth.StringWidth(left)) + strings.Repeat("^", max(runewidth.StringWidth(middle), 1))
	}
	return strings.TrimRight(left+middle+right, " "), marks
}

// printable shows what a terminal would obey, or not show at all, as Go
// escapes it: controls, changes of direction, invalid UTF-8.
func printable(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError:
			b.WriteRune(r)
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// lines reads the lines of a document one after another: findings are sorted.
type lines struct {
	data, rest []byte
	number     int // of the line that rest begins with
}

// open is nil where the document can't be read.
func (o Options) open(path string) *lines {
	if o.Source == nil {
		return nil
	}
	data, err := o.Source(path)
	if err != nil {
		return nil // it was read before: it is gone, and the finding stands
	}
	return &lines{data, data, 1}
}

// at is the text of a line, cut where it is longer than anybody reads.
func (l *lines) at(number int) (string, bool) {
	if l == nil || number < 1 {
		return "", false
	}
	if number < l.number {
		l.rest, l.number = l.data, 1
	}
	for ; l.number < number; l.number++ {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return "", false
		}
		l.rest = l.rest[i+1:]
	}
	line, _, _ := bytes.Cut(l.rest, []byte("\n"))
	return string(bytes.TrimSuffix(line[:min(len(line), 1<<16)], []byte("\r"))), true
}
