package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// commands are GitHub's names of the severities.
var commands = map[docs.Severity]string{docs.Error: "error", docs.Warning: "warning", docs.Note: "notice"}

// GitHub writes workflow commands, which GitHub Actions shows beside the lines
// (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).
func GitHub(w io.Writer, r docs.Report, o Options) error {
	title := titles(r.Rules)
	for _, f := range r.Findings {
		properties := []string{"file=" + property(o.file(f.Path))}
		add := func(name string, n int) {
			if n > 0 {
				properties = append(properties, fmt.Sprintf("%s=%d", name, n))
			}
		}
		add("line", f.Line)
		add("endLine", max(f.End.Line, f.Line))
		// GitHub takes columns only where the lines are the same.
		if end := f.End; end.Line <= f.Line {
			add("col", f.Column)
			add("endColumn", end.Column)
		}
		name := f.Rule
		if t := title[f.Rule]; t != "" {
			name += ": " + t
		}
		properties = append(properties, "title="+property(name))
		if _, err := fmt.Fprintf(w, "::%s %s::%s\n", commands[f.Severity], strings.Join(properties, ","), data(f.Message)); err != nil {
			return err
		}
	}
	return nil
}

// The escapes of @actions/core's command.ts.
var (
	escapeData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func data(s string) string     { return escapeData.Replace(tame(s)) }
func property(s string) string { return escapeProperty.Replace(tame(s)) }

// tame shows what isn't text as Go escapes it, line breaks apart.
func tame(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "\n")
}
