package lab

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// Runtimes are the runtimes that a lab may need.
var Runtimes = []string{"runc", "gvisor", "wasmedge"}

var (
	// labName is a DNS-1123 label that leaves room for "labctl-" in the
	// name of a namespace (63 characters).
	labName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,54}[a-z0-9])?$`)
	claimID = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	subject = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
)

// reserved are the words that CEL keeps, so no subject can have them
// (https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax).
var reserved = strings.Fields("as break const continue else false for function if import in let loop null package namespace return true var void while")

// rules checks what the structure can't say.
func (l *Lab) rules() Problems {
	var problems Problems
	bad := func(field, format string, args ...any) {
		problems = append(problems, l.problemf(field, format, args...))
	}
	if l.APIVersion != APIVersion {
		bad("apiVersion", "is %q; this labctl reads %s", l.APIVersion, APIVersion)
	}
	if l.Kind != Kind {
		bad("kind", "is %q; write %s", l.Kind, Kind)
	}
	if !labName.MatchString(l.Metadata.Name) {
		bad("metadata.name", "is %q; write a DNS label: lower-case letters, digits and dashes, at most 56", l.Metadata.Name)
	}
	if len(l.Spec.Claims) == 0 {
		bad("spec.claims", "is an empty list; a lab has at least one claim")
	}
	if !fs.ValidPath(l.Spec.Document) {
		bad("spec.document", "is %q; write a path relative to the docs folder, with / and without ..", l.Spec.Document)
	}
	l.needs(bad)
	ids := map[string]bool{}
	for i := range l.Spec.Claims {
		c, field := &l.Spec.Claims[i], claimField(i)
		if !claimID.MatchString(c.ID) {
			bad(field+".id", "is %q; write letters, digits, dots and dashes", c.ID)
		}
		if ids[c.ID] {
			bad(field+".id", "the claim %s is in this lab twice; ids are unique in the catalogue", c.ID)
		}
		ids[c.ID] = true
		c.Source.rules(field+".source", bad)
		c.expectation(field, bad)
		c.probes(field, bad)
		c.addons(field, l.Spec.Needs, bad)
	}
	for i, e := range l.Spec.Examples {
		field := fmt.Sprintf("spec.examples[%d]", i)
		e.Source.rules(field+".source", bad)
		if !fs.ValidPath(e.Manifest) {
			bad(field+".manifest", "is %q; write a path relative to the manifests folder, with / and without ..", e.Manifest)
		}
	}
	return problems
}

type report func(field, format string, args ...any)

func (l *Lab) needs(bad report) {
	n := l.Spec.Needs
	for i, r := range n.Runtimes {
		if !slices.Contains(Runtimes, r) {
			bad(fmt.Sprintf("spec.needs.runtimes[%d]", i), "is %q; %s", r, Suggest(r, Runtimes))
		}
	}
	clusterless := n.Nodes != nil && *n.Nodes == 0
	switch {
	case n.Nodes != nil && *n.Nodes < 0:
		bad("spec.needs.nodes", "is %d; write 0 for no cluster, else the least number of nodes", *n.Nodes)
	case clusterless && len(l.Spec.Manifests) > 0:
		bad("spec.manifests", "need a cluster, but spec.needs.nodes is 0")
	case clusterless && len(n.Addons) > 0:
		bad("spec.needs.addons", "need a cluster, but spec.needs.nodes is 0")
	case clusterless && len(n.Runtimes) > 0:
		bad("spec.needs.runtimes", "need a cluster, but spec.needs.nodes is 0")
	}
	for i, m := range l.Spec.Manifests {
		field := fmt.Sprintf("spec.manifests[%d]", i)
		if !fs.ValidPath(m) {
			bad(field, "is %q; write a path relative to the manifests folder, with / and without ..", m)
		}
		if slices.Index(l.Spec.Manifests, m) < i {
			bad(field, "%s is in the list twice", m)
		}
	}
}

func (s Source) rules(field string, bad report) {
	if s.Path != "" && !fs.ValidPath(s.Path) {
		bad(field+".path", "is %q; write a path relative to the docs folder, with / and without ..", s.Path)
	}
	if s.Line < 1 {
		bad(field+".line", "is %d; lines count from 1", s.Line)
	}
	if s.Lines < 0 {
		bad(field+".lines", "is %d; write how many lines the claim spans", s.Lines)
	}
}

// expectation checks that what is expected fits what is there to decide it.
func (c *Claim) expectation(field string, bad report) {
	if c.Expect == Refuted && c.Truth == nil {
		bad(field+".truth", "is missing; a claim that is expected to be refuted says what is true instead")
	}
	if c.Expect != Refuted && c.Truth != nil {
		bad(field+".truth", "belongs to expect: refuted, but this claim expects %s", c.Expect)
	}
	if len(c.Probes) > 0 {
		if c.Decide == "" {
			bad(field+".decide", "is missing; a claim with probes says in CEL what confirms it")
		}
		if c.Expect == Planned {
			bad(field+".expect", "is planned, but the claim has probes; write the verdict they are expected to give")
		}
		if c.Because != nil {
			bad(field+".because", "is for claims without probes; this one has probes (unless[].because gives reasons there)")
		}
		return
	}
	if c.Expect != Planned && c.Expect != Untestable {
		bad(field+".probes", "are missing; without probes a claim can only be expected planned or untestable, not %s", c.Expect)
		return
	}
	if c.Because == nil {
		bad(field+".because", "is missing; a claim that is %s without probes says why", c.Expect)
	}
	for name, there := range map[string]bool{"decide": c.Decide != "", "unless": len(c.Unless) > 0, "show": len(c.Show) > 0} {
		if there {
			bad(field+"."+name, "needs probes; this claim has none")
		}
	}
}

func (c *Claim) probes(field string, bad report) {
	seen := map[string]bool{}
	for i, p := range c.Probes {
		at := fmt.Sprintf("%s.probes[%d].as", field, i)
		switch {
		case !subject.MatchString(p.As):
			bad(at, "is %q; write a name for CEL: lower-case letters, digits and _, a letter first", p.As)
		case slices.Contains(reserved, p.As):
			bad(at, "%s is a word that CEL keeps; choose another name", p.As)
		case seen[p.As]:
			bad(at, "two probes are called %s; subjects are unique in a claim", p.As)
		}
		seen[p.As] = true
	}
	for i, u := range c.Unless {
		if u.Verdict != Untestable && u.Verdict != Inconclusive {
			bad(fmt.Sprintf("%s.unless[%d].verdict", field, i), "is %s; write untestable (the host can't show it) or inconclusive (the evidence doesn't decide)", u.Verdict)
		}
	}
}
