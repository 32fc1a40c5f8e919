// Package rules finds mistakes in Kubernetes objects and in examples as a
// whole that need no API server, and that an API server doesn't see: it judges
// one object at a time, the rules look at what a document says together. What
// an API server refuses anyway isn't repeated here.
//
// A rule is silent where it can't know: objects that a document only mentions
// may be anywhere. Errors are what can't work, whatever else a cluster has.
package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// rule is a docs.Rule and how it is found.
type rule struct {
	docs.Rule
	find func(*page, *sink)
}

var all = slices.Concat(
	streamRules, placeholderRules, imageRules, runtimeRules, serviceRules, ingressRules,
	networkPolicyRules, autoscalingRules, containerRules, referenceRules, rbacRules, settingRules,
)

// Rules are all that Check looks for.
var Rules = func() []docs.Rule {
	var rules []docs.Rule
	for _, r := range all {
		rules = append(rules, r.Rule)
	}
	return rules
}()

// Check gives what is wrong in a document; parsed[i] are the YAML documents of
// d.Examples[i]. Findings are in the order of the rules.
func Check(d docs.Document, parsed [][]yamldoc.Doc) []docs.Finding {
	p := newPage(d, parsed)
	var findings []docs.Finding
	for _, r := range all {
		s := &sink{rule: r.Rule, path: d.Path}
		r.find(p, s)
		findings = append(findings, s.findings...)
	}
	return findings
}

// maxFindings is how often a rule speaks of one example. Who has so many has
// one cause for them, and each costs time to find its place.
const maxFindings = 100

// sink takes the findings of one rule.
type sink struct {
	rule     docs.Rule
	path     string
	findings []docs.Finding
	// count is of the findings in one example.
	example *docs.Example
	count   int
}

// full says whether nothing more is said of an example.
func (s *sink) full(e *docs.Example) bool {
	if s.example != e {
		s.example, s.count = e, 0
	}
	return s.count >= maxFindings
}

// field reports a field of an object.
func (s *sink) field(o *object, f field, format string, args ...any) {
	if s.full(o.example) {
		return
	}
	line, column, _ := o.doc.Find(f.path)
	if last := s.object(o, f.path, line, column, format, args...); last != nil {
		if endLine, endColumn, ok := o.doc.End(f.path); ok {
			last.End = o.example.At(endLine, endColumn)
		}
	}
}

// key reports a field of an object at its key, where it is the key that is
// wrong.
func (s *sink) key(o *object, f field, format string, args ...any) {
	if s.full(o.example) {
		return
	}
	line, column, _ := o.doc.FindKey(f.path)
	s.object(o, f.path, line, column, format, args...)
}

func (s *sink) object(o *object, path string, line, column int, format string, args ...any) *docs.Finding {
	last := s.place(o.example, line, column, format, args...)
	if last != nil {
		last.Field, last.Object = path, o.String()
	}
	return last
}

// place reports a place in an example's text; it gives nil if there are too
// many findings already.
func (s *sink) place(e *docs.Example, line, column int, format string, args ...any) *docs.Finding {
	if s.full(e) {
		return nil
	}
	s.count++
	message := fmt.Sprintf(format, args...)
	if s.count == maxFindings {
		message += fmt.Sprintf(" (no more than %d of these are listed for one example)", maxFindings)
	}
	s.findings = append(s.findings, docs.Finding{
		Rule: s.rule.ID, Severity: s.rule.Severity, Path: s.path,
		Position: e.At(line, column), Message: message,
		Example: e.Line, SHA256: e.SHA256,
	})
	return &s.findings[len(s.findings)-1]
}

// quote makes a value of a document fit for a message: short, and without
// control characters.
func quote(value string) string {
	const most = 80
	if runes := []rune(value); len(runes) > most {
		value = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", value)
}

// list writes up to five names, quoted.
func list(names []string) string {
	const most = 5
	var quoted []string
	for i, n := range names {
		if i == most {
			quoted = append(quoted, "…")
			break
		}
		quoted = append(quoted, quote(n))
	}
	return strings.Join(quoted, ", ")
}
