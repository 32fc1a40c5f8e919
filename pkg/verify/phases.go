package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// task is one claim to measure, in the namespace of its lab.
type task struct {
	namespace string
	claim     lab.Compiled
}

// phase is what is measured while the same add-ons are up. Those that are
// quiet come up while it is under way, the loud ones before it begins.
type phase struct {
	loud, quiet []string
	tasks       []task
}

// phases puts what can be measured together into one phase, whichever lab it
// is of: first what needs no loud add-on, when nothing is up yet; then for each
// set of loud add-ons, those of few before those of many, what needs it.
func phases(tasks []task, quiet func(addon string) bool) []phase {
	var out []phase
	at := map[string]int{}
	rank := map[string]int{}
	var keys []string
	for _, t := range tasks {
		if len(t.claim.Probes) == 0 {
			continue
		}
		loud, silent := split(t.claim.Addons, quiet)
		// Beside a quiet add-on that others want up, a claim that wants it
		// away has no place.
		_, missed := split(t.claim.Without, quiet)
		k := addonsKey(loud) + "!" + addonsKey(missed)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k], out, keys = i, append(out, phase{loud: loud}), append(keys, k)
			rank[k] = 2 * len(loud)
			if len(missed) == 0 {
				rank[k]++
			}
		}
		out[i].tasks = append(out[i].tasks, t)
		for _, name := range silent {
			if !slices.Contains(out[i].quiet, name) {
				out[i].quiet = append(out[i].quiet, name)
			}
		}
	}
	slices.SortStableFunc(keys, func(a, b string) int { return rank[a] - rank[b] })
	sorted := make([]phase, len(keys))
	for i, k := range keys {
		sorted[i] = out[at[k]]
	}
	return sorted
}

func split(names []string, quiet func(string) bool) (loud, silent []string) {
	for _, name := range names {
		if quiet(name) {
			silent = append(silent, name)
		} else {
			loud = append(loud, name)
		}
	}
	return loud, silent
}

// title says what the phase is, for progress.
func (p phase) title() string {
	text := fmt.Sprintf("Measuring %d claims", len(p.tasks))
	if len(p.loud) > 0 {
		text += " with " + strings.Join(p.loud, " and ")
	}
	return text
}

// without are the add-ons that must be away: those that a claim of the phase
// names so, and those of the phase that the user leaves out.
func (p phase) without(leaveOut []string) []string {
	var out []string
	for _, t := range p.tasks {
		out = append(out, t.claim.Without...)
	}
	for _, name := range slices.Concat(p.loud, p.quiet) {
		if slices.Contains(leaveOut, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
