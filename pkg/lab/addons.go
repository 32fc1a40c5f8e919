package lab

import (
	"fmt"
	"slices"
	"strings"
)

// addons checks that a claim names the add-ons that its lab says it needs,
// and none both ways.
func (c *Claim) addons(field string, needs Needs, bad report) {
	for i, name := range c.Addons {
		at := fmt.Sprintf("%s.addons[%d]", field, i)
		switch {
		case !slices.Contains(needs.Addons, name):
			bad(at, "%s isn't in spec.needs.addons (%s); name it there as well", name, strings.Join(needs.Addons, ", "))
		case slices.Contains(c.Without, name):
			bad(at, "%s is in without as well", name)
		case slices.Index(c.Addons, name) < i:
			bad(at, "%s is in the list twice", name)
		}
	}
	if len(c.Probes) == 0 && len(c.Addons)+len(c.Without) > 0 {
		bad(field+".addons", "and without are for claims with probes; this one has none")
	}
}

// lintAddons finds the add-ons that there are none of.
func (l *Lab) lintAddons(known []string) Problems {
	if known == nil {
		return nil
	}
	var problems Problems
	check := func(field string, names []string) {
		for i, name := range names {
			if !slices.Contains(known, name) {
				problems = append(problems, l.problemf(fmt.Sprintf("%s[%d]", field, i), "unknown add-on %q; %s", name, Suggest(name, known)))
			}
		}
	}
	check("spec.needs.addons", l.Spec.Needs.Addons)
	for i, c := range l.Spec.Claims {
		check(claimField(i)+".without", c.Without)
	}
	return problems
}
