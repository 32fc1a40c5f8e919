package lab

import (
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// PeopleNamespace is the namespace that people work in, and that checks look
// into.
const PeopleNamespace = "lab"

// In is the namespace that the check looks into.
func (c *Check) In() string {
	if c.Namespace == "" {
		return PeopleNamespace
	}
	return c.Namespace
}

// printed finds the manifests that a command has labctl print.
var printed = regexp.MustCompile(`labctl manifest((?: [\w./-]+\.yaml)+)`)

// Printed are the manifests that the step's command has `labctl manifest`
// print.
func (s *Step) Printed() []string {
	var names []string
	for _, m := range printed.FindAllStringSubmatch(s.Run, -1) {
		names = append(names, strings.Fields(m[1])...)
	}
	return names
}

// lintSteps checks what a person is told to do.
func (l *Lab) lintSteps(against Against) Problems {
	var problems Problems
	bad := func(field, format string, args ...any) {
		problems = append(problems, l.problemf(field, format, args...))
	}
	for i := range l.Spec.Steps {
		s, field := &l.Spec.Steps[i], fmt.Sprintf("spec.steps[%d]", i)
		for _, name := range s.Printed() {
			if _, err := fs.Stat(against.Manifests, name); err != nil {
				bad(field+".run", "there is no manifest %s: %v", name, reason(err))
			}
		}
		if s.Check == nil {
			continue
		}
		c, field := s.Check, field+".check"
		if n := l.Spec.Needs.Nodes; n != nil && *n == 0 {
			bad(field, "looks at a cluster, but spec.needs.nodes is 0")
		}
		if s.Run == "" {
			bad(field, "is for a step with a command; write in run what brings the cluster there")
		}
		if (c.Name == "") == (c.Selector == nil) {
			bad(field, "write name for one object, or selector for several (selector: \"\" takes all), not both")
			continue
		}
		if c.Selector != nil {
			if _, err := labels.Parse(*c.Selector); err != nil {
				bad(field+".selector", "is no label selector: %v", err)
			}
		}
		if against.Condition != nil {
			if err := against.Condition(c.For, c.Selector == nil); err != nil {
				bad(field+".for", "%v", err)
			}
		}
	}
	return problems
}
