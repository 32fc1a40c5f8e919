package report

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// Markdown is the table with statements as GitHub-flavoured Markdown, with
// the totals before it and what the documents say wrongly after it.
func Markdown(r result.Result, o Options) []byte {
	var b bytes.Buffer
	line := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line("layer", "claims", "confirmed", "refuted", "inconclusive", "untestable", "planned", "errors", "not run", "unexpected")
	line("---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	for _, t := range append(r.Totals(), r.Sum()) {
		name := string(t.Layer)
		if name == "" {
			name = "all"
		}
		line(name, fmt.Sprint(t.Claims), fmt.Sprint(t.Confirmed), fmt.Sprint(t.Refuted), fmt.Sprint(t.Inconclusive),
			fmt.Sprint(t.Untestable), fmt.Sprint(t.Planned), fmt.Sprint(t.Errors), fmt.Sprint(t.NotRun), fmt.Sprint(t.Failed))
	}
	b.WriteByte('\n')
	line("layer", "claim", "statement", "verdict", "expected", "evidence")
	line("---", "---", "---", "---", "---", "---")
	for _, c := range byLayer(r) {
		verdict := c.Outcome()
		if !c.OK {
			verdict = "**" + verdict + "**"
		}
		line(string(c.Layer), c.ID, cell(o.text(c.Statement)), verdict, string(c.Expected), cell(because(c.Claim, o, valueWidth)))
	}
	findings(&b, r, o)
	return b.Bytes()
}

// findings lists what was refuted, as expected, and what is true instead.
func findings(b *bytes.Buffer, r result.Result, o Options) {
	heading := "\n### What is true instead\n\n"
	for _, c := range byLayer(r) {
		if c.Verdict != lab.Refuted || c.Truth == nil {
			continue
		}
		fmt.Fprintf(b, "%s- %s (%s:%d): %s → %s\n", heading, c.ID, cell(c.Source.Path), c.Source.Line, cell(o.text(c.Statement)), cell(o.text(*c.Truth)))
		heading = ""
	}
}

// cellEscapes keep text from ending its cell or becoming markup.
var cellEscapes = strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "`", "\\`")

func cell(s string) string { return cellEscapes.Replace(oneLine(s)) }

// origin names a source for people: where it was seen, and what was asked.
func origin(s evidence.Source) string {
	text := strings.TrimSpace(s.Kind + " " + oneLine(s.Ref))
	if s.Exit != nil {
		text += fmt.Sprintf(", exit %d", *s.Exit)
	}
	if s.Where != "" {
		text = s.Where + ": " + text
	}
	return text
}
