package lab

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
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

// OnDocker says that people work with the lab's Docker, and not with a cluster:
// checks then look at what docker inspect gives.
func (l *Lab) OnDocker() bool {
	return l.Spec.Needs.Docker && l.Spec.Needs.Nodes != nil && *l.Spec.Needs.Nodes == 0
}

// DockerKinds are the kinds of a check that looks at Docker.
var DockerKinds = []string{"container", "image", "network", "volume"}

func (l *Lab) lintDockerCheck(c *Check, field string) Problems {
	var problems Problems
	if !slices.Contains(DockerKinds, c.Kind) {
		problems = append(problems, l.problemf(field+".kind", "is %q; Docker has: %s", c.Kind, strings.Join(DockerKinds, ", ")))
	}
	if c.Selector != nil || c.Namespace != "" || c.APIVersion != "" {
		problems = append(problems, l.problemf(field, "looks at one object of Docker: write kind and name"))
	}
	return problems
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
		if l.OnDocker() {
			problems = append(problems, l.lintDockerCheck(c, field)...)
		} else if n := l.Spec.Needs.Nodes; n != nil && *n == 0 {
			bad(field, "looks at a cluster, but spec.needs.nodes is 0")
		}
		if s.Run == "" {
			bad(field, "is for a step with a command; write in run what brings the cluster there")
		}
		if c.Until != 0 && (c.Until <= i+1 || c.Until > len(l.Spec.Steps) || l.Spec.Steps[c.Until-1].Check == nil) {
			bad(field+".until", "is %d; write the number of a later step that has a check", c.Until)
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
