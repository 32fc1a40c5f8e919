package report

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// List is a row a lab: name, layer, claims (how many of them have probes),
// what it needs, title.
func List(labs []*lab.Lab, o Options) []byte {
	g := grid{header: []string{"NAME", "LAYER", "CLAIMS", "PROBED", "NEEDS", "TITLE"}}
	for _, l := range labs {
		probed := 0
		for _, c := range l.Spec.Claims {
			if len(c.Probes) > 0 {
				probed++
			}
		}
		g.row(l.Metadata.Name, string(l.Spec.Layer), fmt.Sprint(len(l.Spec.Claims)), fmt.Sprint(probed), needs(l.Spec.Needs), oneLine(o.text(l.Spec.Title)))
	}
	var b bytes.Buffer
	g.write(&b)
	return b.Bytes()
}

func needs(n lab.Needs) string {
	var words []string
	switch {
	case n.Nodes != nil && *n.Nodes == 0:
		words = append(words, "no cluster")
	case n.Nodes != nil && *n.Nodes > 1:
		words = append(words, fmt.Sprintf("%d nodes", *n.Nodes))
	}
	words = append(words, n.Runtimes...)
	if words = append(words, n.Host...); len(words) == 0 {
		return "a cluster"
	}
	return strings.Join(words, ",")
}

// Show is one lab in full: what it needs, its claims with what decides them,
// and the steps for a person.
func Show(l *lab.Lab, o Options) []byte {
	var b bytes.Buffer
	line := func(indent int, name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s%s%s\n", strings.Repeat("  ", indent), cells.FillRight(name, 12), value)
		}
	}
	fmt.Fprintf(&b, "%s\n\n", o.text(l.Spec.Title))
	line(0, "lab", l.Metadata.Name)
	line(0, "layer", string(l.Spec.Layer))
	line(0, "document", l.Spec.Document)
	line(0, "needs", needs(l.Spec.Needs))
	line(0, "manifests", strings.Join(l.Spec.Manifests, ", "))
	fmt.Fprintf(&b, "\nClaims (%d)\n", len(l.Spec.Claims))
	for _, c := range l.Spec.Claims {
		fmt.Fprintf(&b, "\n  %s  %s  expected %s\n", c.ID, c.Layer, c.Expect)
		line(2, "statement", oneLine(o.text(c.Statement)))
		line(2, "source", fmt.Sprintf("%s:%d (%s)", l.SourcePath(c), c.Source.Line, c.Source.Heading))
		for _, p := range c.Probes {
			line(2, "probe", strings.TrimSpace(fmt.Sprintf("%s = %s %s", p.As, p.Kind, p.With)))
		}
		line(2, "decide", oneLine(c.Decide))
		for _, u := range c.Unless {
			line(2, "unless", fmt.Sprintf("%s → %s: %s", oneLine(u.When), u.Verdict, oneLine(o.text(u.Because))))
		}
		if c.Truth != nil {
			line(2, "truth", oneLine(o.text(*c.Truth)))
		}
		if c.Because != nil {
			line(2, "because", oneLine(o.text(*c.Because)))
		}
	}
	if len(l.Spec.Steps) > 0 {
		fmt.Fprintf(&b, "\nSteps\n")
	}
	for i, s := range l.Spec.Steps {
		fmt.Fprintf(&b, "\n  %d. %s\n", i+1, oneLine(o.text(s.Title)))
		for _, command := range strings.Split(strings.TrimSpace(s.Run), "\n") {
			if command != "" {
				fmt.Fprintf(&b, "     $ %s\n", command)
			}
		}
		fmt.Fprintf(&b, "     %s\n", oneLine(o.text(s.Look)))
	}
	return b.Bytes()
}
