package lab

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Schema says what a probe of a kind declares for its parameters. An error is
// a mistake in the spec: an unknown kind, wrong parameters.
type Schema func(kind string, with json.RawMessage) ([]evidence.Output, error)

// Compiled is a claim whose expressions are compiled.
type Compiled struct {
	*Claim
	// Outputs are what its probes declare, with full names (SUBJECT.NAME).
	Outputs []evidence.Output
	// Decide is nil for a claim without probes.
	Decide *Expression
	// Unless has one expression for each of the claim's cases.
	Unless []*Expression
}

// Compile checks every claim against what its probes declare, and compiles
// its expressions. Claims are in the order of the spec.
func (l *Lab) Compile(schema Schema) ([]Compiled, Problems) {
	var out []Compiled
	var problems Problems
	for i := range l.Spec.Claims {
		c, p := l.compile(i, schema)
		out = append(out, c)
		problems = append(problems, p...)
	}
	return out, problems.sorted()
}

func (l *Lab) compile(i int, schema Schema) (Compiled, Problems) {
	c := Compiled{Claim: &l.Spec.Claims[i]}
	if len(c.Probes) == 0 {
		return c, nil
	}
	field := claimField(i)
	var problems Problems
	for j, p := range c.Probes {
		outputs, err := schema(p.Kind, p.With)
		if err != nil {
			problems = append(problems, l.problemf(l.blame(fmt.Sprintf("%s.probes[%d]", field, j), p, err), "%v", err))
		}
		for _, o := range outputs {
			o.Name = p.As + "." + o.Name
			c.Outputs = append(c.Outputs, o)
		}
	}
	if len(problems) > 0 {
		// Without its probes' values an expression would only give more of the same.
		return c, problems
	}
	language, err := NewLanguage(c.Outputs)
	if err != nil {
		return c, Problems{l.problemf(field+".probes", "%v", err)}
	}
	expression := func(field, text string) *Expression {
		e, issues := language.Compile(text)
		for _, issue := range issues {
			problems = append(problems, Problem{Position: l.within(field, text, issue.Offset), Field: field, Message: "CEL: " + issue.Message})
		}
		return e
	}
	c.Decide = expression(field+".decide", c.Claim.Decide)
	for j, u := range c.Claim.Unless {
		c.Unless = append(c.Unless, expression(fmt.Sprintf("%s.unless[%d].when", field, j), u.When))
	}
	for j, name := range c.Show {
		if !slices.ContainsFunc(c.Outputs, func(o evidence.Output) bool { return o.Name == name }) {
			problems = append(problems, l.problemf(fmt.Sprintf("%s.show[%d]", field, j), "%s", language.unknown(name)))
		}
	}
	if len(problems) == 0 {
		problems = l.unused(field, c)
	}
	return c, problems
}

// unused finds the probes whose values nothing asks for.
func (l *Lab) unused(field string, c Compiled) Problems {
	names := slices.Concat(c.Decide.Names, c.Show)
	for _, u := range c.Unless {
		names = append(names, u.Names...)
	}
	var problems Problems
	for j, p := range c.Probes {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, p.As+".") }) {
			problems = append(problems, l.problemf(fmt.Sprintf("%s.probes[%d].as", field, j), "nothing uses %s; use its values in decide, unless or show, or drop the probe", p.As))
		}
	}
	return problems
}

// blame finds the field of a probe that an error about it speaks of: the
// kind, a parameter that the error quotes, or all parameters.
func (l *Lab) blame(field string, p Probe, err error) string {
	message := err.Error()
	if strings.Contains(message, "unknown probe kind") || len(p.With) == 0 {
		return field + ".kind"
	}
	var params map[string]json.RawMessage
	if json.Unmarshal(p.With, &params) == nil {
		for name := range params {
			if strings.Contains(message, fmt.Sprintf("%q", name)) {
				return field + ".with." + name
			}
		}
	}
	return field + ".with"
}

// within is the position of a rune of a field's text in the file. YAML may
// indent, fold and escape the text, but its visible runes stand in the file
// in the same order: they are followed from where the text begins.
func (l *Lab) within(field, text string, offset int) Position {
	at := l.At(field)
	n, ok := l.origin.nodes[field]
	if !ok {
		return at
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	line, column := n.Line-1, n.Column-1
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		line, column = line+1, 0
	}
	runes := []rune(text)
	offset = min(offset, len(runes)-1)
	for offset > 0 && unicode.IsSpace(runes[offset]) {
		offset--
	}
	wanted := 0
	for ; line < len(l.origin.lines); line, column = line+1, 0 {
		source := []rune(l.origin.lines[line])
		for ; column < len(source); column++ {
			for wanted < offset && unicode.IsSpace(runes[wanted]) {
				wanted++
			}
			if source[column] != runes[wanted] {
				continue
			}
			if wanted == offset {
				return Position{File: at.File, Line: line + 1, Column: column + 1}
			}
			wanted++
		}
	}
	return at
}
