package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/perf/benchunit"

	"github.com/isolation-stack/labctl/pkg/compare"
)

// Comparison gives a comparison of runtimes in one of Formats.
func Comparison(format string, r compare.Result, o Options) ([]byte, error) {
	switch format {
	case "table":
		return comparisonTable(r, o), nil
	case "wide":
		return comparisonWide(r, o), nil
	case "markdown":
		return comparisonMarkdown(r), nil
	}
	return Data(format, r)
}

// comparisonTable is a row a metric and a column a runtime, then what the
// numbers are and how far they can be trusted.
func comparisonTable(r compare.Result, o Options) []byte {
	var b bytes.Buffer
	header, rows := comparisonRows(r)
	g := grid{header: header, rows: rows}
	g.write(&b)
	for _, n := range comparisonNotes(r) {
		fmt.Fprintf(&b, "\n%s\n", bold(n.title, o))
		for _, line := range n.lines {
			fmt.Fprintf(&b, "  %s\n", oneLine(line))
		}
	}
	return b.Bytes()
}

func bold(s string, o Options) string {
	if !o.Color {
		return s
	}
	return "\x1b[1m" + s + "\x1b[0m"
}

func comparisonMarkdown(r compare.Result) []byte {
	var b bytes.Buffer
	header, rows := comparisonRows(r)
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "---"
	}
	for _, row := range append([][]string{header, rule}, rows...) {
		escaped := make([]string, len(row))
		for i, c := range row {
			escaped[i] = cell(c)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(escaped, " | "))
	}
	for _, n := range comparisonNotes(r) {
		fmt.Fprintf(&b, "\n### %s\n\n", n.title)
		for _, line := range n.lines {
			fmt.Fprintf(&b, "- %s\n", cell(line))
		}
	}
	return b.Bytes()
}

func comparisonRows(r compare.Result) (header []string, rows [][]string) {
	header = []string{"METRIC"}
	for _, rt := range r.Runtimes {
		header = append(header, rt.Name)
	}
	for i, m := range r.Metrics {
		row := []string{m.Name}
		for _, rt := range r.Runtimes {
			switch {
			case rt.Error != "":
				row = append(row, "error")
			case i >= len(rt.Results):
				row = append(row, "untestable")
			default:
				row = append(row, measuredCell(rt.Results[i], r.Method.Confidence))
			}
		}
		rows = append(rows, row)
	}
	return header, rows
}

// measuredCell is a median with its interval, or, beside a baseline, a median
// with the ratio and its interval.
func measuredCell(m compare.Measured, confidence float64) string {
	if m.Median == nil {
		return "untestable"
	}
	value, interval := estimate(*m.Median, m.Unit, confidence)
	d := m.Difference
	switch {
	case d == nil:
		return value + " " + interval
	case d.Ratio == nil:
		return value + "  " + string(d.Verdict)
	}
	ratio, ratioInterval := ratioText(*d.Ratio, confidence)
	switch d.Verdict {
	case compare.NoDifference:
		return value + "  " + string(d.Verdict) + " " + ratioInterval
	case compare.TooFew:
		return value + "  " + ratio + " " + ratioInterval + ", " + string(d.Verdict)
	}
	return value + "  " + ratio + " " + ratioInterval
}

// estimate writes a number with its unit, and its interval in the same.
func estimate(e compare.Estimate, unit string, confidence float64) (value, interval string) {
	class, factor := benchunit.Decimal, 1.0
	switch unit {
	case "bytes":
		class, unit = benchunit.Binary, "B"
	case "ns/op":
		factor, unit = 1e-9, "s/op"
	}
	scale := benchunit.CommonScale([]float64{e.Value * factor}, class)
	number := func(v float64) string { return strconv.FormatFloat(v*factor/scale.Factor, 'f', scale.Prec, 64) }
	return scale.Format(e.Value*factor) + unit, bracket(number(e.Low), number(e.High), e.Confidence, confidence)
}

func ratioText(e compare.Estimate, confidence float64) (value, interval string) {
	number := func(v float64) string {
		if v >= 100 {
			return strconv.FormatFloat(v, 'f', 0, 64)
		}
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return number(e.Value) + "×", bracket(number(e.Low)+"×", number(e.High)+"×", e.Confidence, confidence)
}

// bracket is an interval; one of less confidence than was aimed at says so.
func bracket(low, high string, got, aim float64) string {
	if got < aim {
		return fmt.Sprintf("[%s–%s at %.0f %%]", low, high, 100*got)
	}
	return fmt.Sprintf("[%s–%s]", low, high)
}

// note is a heading and lines below it.
type note struct {
	title string
	lines []string
}

func comparisonNotes(r compare.Result) []note {
	quiet := note{"Quiet machine", nil}
	if r.Node.Noisy {
		quiet = note{"NOISY MACHINE: small differences mean little, run again when it is quiet", r.Node.Noise}
	}
	n := r.Node
	quiet.lines = append(quiet.lines,
		fmt.Sprintf("%s: %s, %d CPUs, %s of memory, Linux %s %s%s", n.Name, or(n.CPU, "processor unknown"), n.CPUs, bytesText(n.Memory), n.Kernel, n.Arch, hypervisor(n.Hypervisor)),
		fmt.Sprintf("CPUs busy %.0f %% before and %.0f %% after, load %s and %s, steal %.1f %%", 100*n.Before.Busy, 100*n.After.Busy, load(n.Before), load(n.After), 100*n.Steal),
		fmt.Sprintf("a fixed loop on the node (%s), %d times between rounds: %.3g %s at best, up to %.1f %% more", n.Loop.Command, len(n.Loop.Medians), n.Loop.Best, n.Loop.Unit, 100*n.Loop.Spread),
	)
	m := r.Method
	method := note{"How it was measured", []string{
		fmt.Sprintf("%d rounds after %d warm-up, each with %d Pods of every runtime, in an order shuffled by seed %d", m.Rounds, m.WarmUps, m.VisitsPerRound, m.Seed),
		fmt.Sprintf("medians with %.0f %% intervals; ratios to %s with intervals that hold together, for all metrics of a runtime, at %.0f %%; no difference is shown where the Mann-Whitney U test shows none at that level", 100*m.Confidence, m.Baseline, 100*m.Confidence),
	}}
	if r.Interrupted {
		method.lines = append(method.lines, "the run was interrupted: only complete rounds count")
	}
	what := note{title: "What is measured"}
	for _, metric := range r.Metrics {
		what.lines = append(what.lines, metric.Name+": "+metric.Doc)
	}
	notes := []note{quiet}
	if broken := brokenRuntimes(r); len(broken.lines) > 0 {
		notes = append(notes, broken)
	}
	if missing := missingNumbers(r); len(missing.lines) > 0 {
		notes = append(notes, missing)
	}
	return append(notes, method, what)
}

func brokenRuntimes(r compare.Result) note {
	n := note{title: "Errors"}
	for _, rt := range r.Runtimes {
		if rt.Error != "" {
			n.lines = append(n.lines, rt.Name+": "+rt.Error)
		}
	}
	return n
}

// missingNumbers says why there is none, each reason once.
func missingNumbers(r compare.Result) note {
	n := note{title: "Untestable"}
	for _, rt := range r.Runtimes {
		if rt.Untestable != "" {
			n.lines = append(n.lines, rt.Name+": "+rt.Untestable)
		}
		metrics := map[string][]string{}
		var reasons []string
		for _, m := range rt.Results {
			if m.Untestable == "" {
				continue
			}
			if metrics[m.Untestable] == nil {
				reasons = append(reasons, m.Untestable)
			}
			metrics[m.Untestable] = append(metrics[m.Untestable], m.Metric)
		}
		for _, why := range reasons {
			n.lines = append(n.lines, fmt.Sprintf("%s %s: %s", rt.Name, strings.Join(metrics[why], ", "), why))
		}
	}
	return n
}

// comparisonWide is a row a runtime and metric, with everything that there is.
func comparisonWide(r compare.Result, o Options) []byte {
	g := grid{header: []string{"METRIC", "RUNTIME", "CLASS", "N", "MEDIAN", "INTERVAL", "RATIO", "INTERVAL", "P", "LEVEL", "VERDICT", "SOURCE"}}
	for i := range r.Metrics {
		for _, rt := range r.Runtimes {
			if i >= len(rt.Results) {
				continue
			}
			m := rt.Results[i]
			row := []string{m.Metric, rt.Name, rt.Class, fmt.Sprint(len(m.Samples)), "", "", "", "", "", "", "", ""}
			if m.Median != nil {
				row[4], row[5] = estimate(*m.Median, m.Unit, r.Method.Confidence)
			}
			if d := m.Difference; d != nil {
				if d.Ratio != nil {
					row[6], row[7] = ratioText(*d.Ratio, r.Method.Confidence)
				}
				row[8], row[9], row[10] = fmt.Sprintf("%.2g", d.P), fmt.Sprintf("%.2g", d.Level), string(d.Verdict)
			}
			if m.Untestable != "" {
				row[10] = "untestable"
			}
			if m.Source != nil {
				row[11] = origin(*m.Source)
			}
			g.row(row...)
		}
	}
	var b bytes.Buffer
	g.write(&b)
	for _, n := range comparisonNotes(r) {
		fmt.Fprintf(&b, "\n%s\n", bold(n.title, o))
		for _, line := range n.lines {
			fmt.Fprintf(&b, "  %s\n", oneLine(line))
		}
	}
	return b.Bytes()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func hypervisor(name string) string {
	if name == "" {
		return ""
	}
	return ", under " + name
}

func bytesText(n int64) string { return benchunit.Scale(float64(n), benchunit.Binary) + "B" }

func load(r compare.Rest) string {
	if len(r.Load) == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.2f", r.Load[0])
}
