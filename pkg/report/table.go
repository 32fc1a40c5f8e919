package report

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// How many cells evidence may take in the plain table: all of it, and one value.
const (
	evidenceWidth = 72
	valueWidth    = 32
)

// Table is a row a claim, ordered by layer: layer, claim, verdict, expected,
// evidence in a few words; then what needs a look, then the totals a layer.
// Of several labs it is a row a document, and the claims that need a look.
func Table(r result.Result, o Options) []byte {
	var b bytes.Buffer
	claims := byLayer(r)
	rows := claims
	if len(r.Labs) > 1 {
		documents(&b, r, o)
		rows = slices.DeleteFunc(slices.Clone(claims), func(c claim) bool { return c.OK || c.Outcome() == result.NotRun })
	}
	if len(r.Labs) > 1 && len(rows) > 0 {
		b.WriteByte('\n')
	}
	if len(r.Labs) < 2 || len(rows) > 0 {
		claimRows(&b, rows, o, []string{"LAYER", "CLAIM", "VERDICT", "EXPECTED", "EVIDENCE"}, func(c claim) []string {
			return []string{short(because(c.Claim, o, valueWidth), evidenceWidth)}
		})
	}
	rest(&b, r, claims, o)
	return b.Bytes()
}

// Wide is Table with the lab, the statement, how long it took, and everything
// in full length.
func Wide(r result.Result, o Options) []byte {
	var b bytes.Buffer
	claims := byLayer(r)
	header := []string{"LAYER", "CLAIM", "VERDICT", "EXPECTED", "LAB", "SECONDS", "STATEMENT", "EVIDENCE"}
	claimRows(&b, claims, o, header, func(c claim) []string {
		return []string{c.lab, fmt.Sprintf("%.1f", c.Seconds), oneLine(o.text(c.Statement)), oneLine(because(c.Claim, o, 0))}
	})
	rest(&b, r, claims, o)
	return b.Bytes()
}

// claim is a claim with the name of its lab.
type claim struct {
	result.Claim
	lab string
}

// byLayer lists all claims in the order of layers, within one as the labs have them.
func byLayer(r result.Result) []claim {
	var claims []claim
	for _, l := range r.Labs {
		for _, c := range l.Claims {
			claims = append(claims, claim{c, l.Name})
		}
	}
	slices.SortStableFunc(claims, func(a, b claim) int {
		return slices.Index(lab.Layers, a.Layer) - slices.Index(lab.Layers, b.Layer)
	})
	return claims
}

// because is what the verdict rests on: the error, the reason, or the evidence.
// Values are cut to width cells, 0 leaves them whole.
func because(c result.Claim, o Options, width int) string {
	switch {
	case c.Error != "":
		return c.Error
	case c.Reason != nil:
		return o.text(*c.Reason)
	}
	var words []string
	for _, v := range c.Shown() {
		text := v.Text()
		if width > 0 {
			text = short(text, width)
		}
		words = append(words, v.Name+"="+text)
	}
	return strings.Join(words, " ")
}

// claimRows is a row a claim; more gives what stands in a row after the
// verdicts.
func claimRows(b *bytes.Buffer, claims []claim, o Options, header []string, more func(claim) []string) {
	g := grid{header: header}
	for _, c := range claims {
		g.row(append([]string{string(c.Layer), c.ID, c.Outcome(), string(c.Expected)}, more(c)...)...)
	}
	if o.Color {
		g.style = func(row, column int) string {
			if column != slices.Index(header, "VERDICT") {
				return ""
			}
			return color(claims[row].Claim)
		}
	}
	g.write(b)
}

// rest is what follows the rows: what fails the run, and the totals a layer.
func rest(b *bytes.Buffer, r result.Result, claims []claim, o Options) {
	attention(b, r, claims, o)
	b.WriteByte('\n')
	totals(b, r)
}

// documents is a row a lab with the verdicts of its claims, and one of all.
func documents(b *bytes.Buffer, r result.Result, o Options) {
	g := grid{header: []string{"LAB", "CLAIMS", "CONFIRMED", "REFUTED", "INCONCLUSIVE", "UNTESTABLE", "PLANNED", "ERRORS", "UNEXPECTED", "SECONDS", "DOCUMENT"}}
	row := func(name string, t result.Total, seconds float64, document string) {
		row := []string{name}
		for _, n := range []int{t.Claims, t.Confirmed, t.Refuted, t.Inconclusive, t.Untestable, t.Planned, t.Errors, t.Failed} {
			row = append(row, fmt.Sprint(n))
		}
		g.row(append(row, fmt.Sprintf("%.1f", seconds), document)...)
	}
	for _, l := range r.Labs {
		row(l.Name, l.Total(), l.Seconds, path.Base(l.Document))
	}
	row("all", r.Sum(), r.Finished.Sub(r.Started).Seconds(), "")
	if o.Color {
		unexpected := slices.Index(g.header, "UNEXPECTED")
		g.style = func(row, column int) string {
			switch {
			case column != unexpected:
				return ""
			case g.rows[row][column] == "0":
				return green
			}
			return red
		}
	}
	g.write(b)
}

// SGR codes (ECMA-48 8.3.117): red, green, yellow, faint.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func color(c result.Claim) string {
	switch {
	case !c.OK:
		return red
	case c.Verdict == lab.Untestable:
		return yellow
	case c.Verdict == lab.Planned:
		return faint
	}
	return green
}

// attention spells out what fails the run.
func attention(b *bytes.Buffer, r result.Result, claims []claim, o Options) {
	for _, l := range r.Labs {
		if l.Error != "" {
			fmt.Fprintf(b, "\nLab %s: %s\n", l.Name, indent(l.Error))
		}
	}
	for _, c := range claims {
		if c.OK || c.Outcome() == result.NotRun {
			continue
		}
		fmt.Fprintf(b, "\n%s is %s, expected %s\n", c.ID, c.Outcome(), c.Expected)
		fmt.Fprintf(b, "  claim     %s\n", oneLine(o.text(c.Statement)))
		fmt.Fprintf(b, "  source    %s:%d\n", c.Source.Path, c.Source.Line)
		if c.Decide != "" {
			fmt.Fprintf(b, "  decide    %s\n", oneLine(c.Decide))
		}
		if text := because(c.Claim, o, 0); c.Error != "" || c.Reason != nil {
			fmt.Fprintf(b, "  because   %s\n", indent(text))
		}
		for _, v := range c.Evidence {
			fmt.Fprintf(b, "  evidence  %s = %s (%s)\n", v.Name, oneLine(v.Text()), origin(v.Source))
		}
	}
	if r.Interrupted {
		b.WriteString("\nThe run was interrupted; claims that are not run have no verdict.\n")
	}
}

// indent keeps the lines of a message, under its first one.
func indent(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, line := range lines {
		lines[i] = oneLine(line)
	}
	return strings.Join(lines, "\n            ")
}

func totals(b *bytes.Buffer, r result.Result) {
	g := grid{header: []string{"LAYER", "CLAIMS", "CONFIRMED", "REFUTED", "INCONCLUSIVE", "UNTESTABLE", "PLANNED", "ERRORS", "NOT RUN", "UNEXPECTED"}}
	for _, t := range append(r.Totals(), r.Sum()) {
		name := string(t.Layer)
		if name == "" {
			name = "all"
		}
		row := []string{name}
		for _, n := range []int{t.Claims, t.Confirmed, t.Refuted, t.Inconclusive, t.Untestable, t.Planned, t.Errors, t.NotRun, t.Failed} {
			row = append(row, fmt.Sprint(n))
		}
		g.row(row...)
	}
	g.write(b)
}
