package lab

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
)

// Applied says which manifests a probe of a kind applies, and what is wrong
// with them.
type Applied func(kind string, with json.RawMessage, manifests fs.FS) ([]string, error)

// lintApplied finds what is wrong with the manifests that probes apply, and
// the examples that nothing applies.
func (l *Lab) lintApplied(against Against) Problems {
	var problems Problems
	applied := slices.Clone(l.Spec.Manifests)
	if against.Applied != nil {
		for i, c := range l.Spec.Claims {
			for j, p := range c.Probes {
				manifests, err := against.Applied(p.Kind, p.With, against.Manifests)
				if err != nil {
					problems = append(problems, l.problemf(fmt.Sprintf("%s.probes[%d].with", claimField(i), j), "%v", err))
				}
				applied = append(applied, manifests...)
			}
		}
	}
	for i, e := range l.Spec.Examples {
		field := fmt.Sprintf("spec.examples[%d].manifest", i)
		if _, err := fs.Stat(against.Manifests, e.Manifest); err != nil {
			problems = append(problems, l.problemf(field, "there is no manifest %s: %v", e.Manifest, reason(err)))
			continue
		}
		if against.Applied != nil && !slices.Contains(applied, e.Manifest) {
			problems = append(problems, l.problemf(field, "nothing applies %s; apply it in a scenario of this lab, or name it in spec.manifests", e.Manifest))
		}
	}
	return problems
}

// sources are all that the lab ties to a document, each with its field.
func (l *Lab) sources() []located {
	var out []located
	for i, c := range l.Spec.Claims {
		out = append(out, located{claimField(i) + ".source", c.Source})
	}
	for i, e := range l.Spec.Examples {
		out = append(out, located{fmt.Sprintf("spec.examples[%d].source", i), e.Source})
	}
	return out
}

// located is a source and the field that holds it.
type located struct {
	field string
	Source
}
