package validate

import (
	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// skip takes the examples out that marks say to skip, and what was found in
// them. Marks keep pointing at their examples.
func (d *document) skip() {
	out := map[int]bool{}
	lines := map[int]bool{}
	for _, m := range d.Marks {
		if m.Key == extract.Skip && m.Example >= 0 {
			out[m.Example] = true
			lines[d.Examples[m.Example].Line] = true
		}
	}
	if len(out) == 0 {
		return
	}
	d.skipped = len(out)
	now := make([]int, len(d.Examples)) // the new index of each example
	var examples []docs.Example
	var parsed [][]yamldoc.Doc
	for i, e := range d.Examples {
		now[i] = -1
		if !out[i] {
			now[i] = len(examples)
			examples, parsed = append(examples, e), append(parsed, d.parsed[i])
		}
	}
	var marks []docs.Mark
	for _, m := range d.Marks {
		if m.Example >= 0 {
			m.Example = now[m.Example]
		}
		marks = append(marks, m)
	}
	var findings []docs.Finding
	for _, f := range d.Findings {
		if f.Example == 0 || !lines[f.Example] {
			findings = append(findings, f)
		}
	}
	d.Examples, d.parsed, d.Marks, d.Findings = examples, parsed, marks, findings
}
