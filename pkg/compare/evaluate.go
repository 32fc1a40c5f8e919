package compare

import (
	"slices"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Seen is what one measurement gave for one metric: a value, or why there is
// none.
type Seen struct {
	Value      float64
	Untestable string
	Source     evidence.Source
}

// Samples are what one subject gave, by metric, in the order in which it was
// taken.
type Samples struct {
	Subject Subject
	// Error says which Pod broke, and how; Untestable why the cluster can't
	// show it. Either ended the measurements of the subject.
	Error, Untestable string
	Seen              map[string][]Seen
}

// Evaluate turns samples into results. Differences are from the baseline;
// there are none where it has no numbers.
func Evaluate(all []Samples, baseline string) []Runtime {
	base := map[string][]float64{}
	if i := slices.IndexFunc(all, func(s Samples) bool { return s.Subject.Name == baseline }); i >= 0 && all[i].usable() {
		for name, seen := range all[i].Seen {
			base[name], _ = values(seen)
		}
	}
	out := make([]Runtime, len(all))
	for i, s := range all {
		out[i] = Runtime{Subject: s.Subject, Error: s.Error, Untestable: s.Untestable}
		if !s.usable() {
			continue
		}
		for _, m := range Metrics() {
			out[i].Results = append(out[i].Results, measured(m, s.Seen[m.Name]))
		}
		if s.Subject.Name != baseline {
			out[i].differ(base)
		}
	}
	return out
}

// differ compares each metric that both have with the base's, by metric.
func (r *Runtime) differ(base map[string][]float64) {
	var both []*Measured
	var values, bases [][]float64
	for i := range r.Results {
		m := &r.Results[i]
		if b := base[m.Metric]; len(m.Samples) > 0 && len(b) > 0 {
			both, values, bases = append(both, m), append(values, m.Samples), append(bases, b)
		}
	}
	level := together(values, bases)
	for i, m := range both {
		m.Difference = differ(values[i], bases[i], level)
	}
}

// usable: a Pod that failed is an error, and the others' numbers beside it
// would pass it over.
func (s Samples) usable() bool { return s.Error == "" && s.Untestable == "" }

func measured(m Metric, seen []Seen) Measured {
	r := Measured{Metric: m.Name, Unit: m.Unit}
	r.Samples, r.Untestable = values(seen)
	if len(seen) > 0 {
		r.Source = &seen[len(seen)-1].Source
	}
	r.Median = median(r.Samples)
	return r
}

// values are the numbers, or else the reason for which there are none. One
// reason is enough: what was shown by some Pods only isn't both.
func values(seen []Seen) ([]float64, string) {
	var out []float64
	for _, s := range seen {
		if s.Untestable != "" {
			return nil, s.Untestable
		}
		out = append(out, s.Value)
	}
	if len(out) == 0 {
		return nil, "not measured: the run was interrupted before"
	}
	return out, ""
}
