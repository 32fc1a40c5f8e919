package compare

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchmath"
)

// The error rate of verdicts and the confidence that intervals aim at.
const (
	Alpha      = 0.05
	Confidence = 1 - Alpha
)

// MaxRounds is how many rounds may be measured: up to 50 samples of a runtime
// the test is exact.
const MaxRounds = 50 / VisitsPerRound

// MinRounds are the fewest that can show a difference in all metrics of one
// Pod at once, and give intervals of the confidence that is aimed at: six
// samples.
const MinRounds = 6 / VisitsPerRound

// sample is what benchmath calculates with; it sorts, so it gets a copy.
func sample(values []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(values), &benchmath.Thresholds{CompareAlpha: Alpha})
}

// median is the median with a nonparametric interval, from order statistics;
// nil without values. With fewer than six the interval is from the least to
// the greatest, which holds the true median unless all samples lie on one side
// of it: with confidence 1 - 2·(1/2)^n.
func median(values []float64) *Estimate {
	if len(values) == 0 {
		return nil
	}
	s := benchmath.AssumeNothing.Summary(sample(values), Confidence)
	e := &Estimate{Value: s.Center, Low: s.Lo, High: s.Hi, Confidence: s.Confidence}
	if math.IsInf(e.Low, 0) || math.IsInf(e.High, 0) {
		e.Low, e.High = slices.Min(values), slices.Max(values)
		e.Confidence = 1 - math.Pow(2, float64(1-len(values)))
	}
	return e
}

// ratio is by how much values are greater than those of the base: the median
// of all quotients of a value and a base value, with the interval that belongs
// to the Mann-Whitney U test (Hodges and Lehmann 1963, on logarithms; Moses'
// interval). It holds 1 just where that test alone shows no difference. Nil where
// a value isn't above 0.
func ratio(values, base []float64) *Estimate {
	var quotients []float64
	for _, v := range values {
		for _, b := range base {
			if v <= 0 || b <= 0 {
				return nil
			}
			quotients = append(quotients, v/b)
		}
	}
	if len(quotients) == 0 {
		return nil
	}
	slices.Sort(quotients)
	// k quotients are left out at each end: as many as the test's statistic
	// may have without a difference, with probability Alpha/2.
	u := stats.UDist{N1: len(values), N2: len(base)}
	k := max(0, sort.Search(len(quotients)/2, func(k int) bool { return u.CDF(float64(k)) > Alpha/2 })-1)
	n := len(quotients)
	middle := (quotients[(n-1)/2] + quotients[n/2]) / 2
	return &Estimate{Value: middle, Low: quotients[k], High: quotients[n-1-k], Confidence: 1 - 2*u.CDF(float64(k))}
}

// differ compares values with those of the base. The verdict is final only
// after judge.
func differ(values, base []float64) *Difference {
	if len(values) == 0 || len(base) == 0 {
		return nil
	}
	d := &Difference{Ratio: ratio(values, base)}
	d.P = benchmath.AssumeNothing.Compare(sample(values), sample(base)).P
	// The least P that these numbers of samples can give.
	if 2*(stats.UDist{N1: len(values), N2: len(base)}).CDF(0) > Alpha {
		d.Verdict = TooFew
	}
	return d
}

// judge decides the verdicts of one runtime's differences together: a dozen
// tests at 5 % would find a difference by chance in every second run, so the
// probabilities are adjusted (Holm 1979). What has too few samples to show
// anything is no test, and keeps its verdict.
func judge(differences []*Difference) {
	var tests []*Difference
	for _, d := range differences {
		d.Adjusted = d.P
		if d.Verdict != TooFew {
			tests = append(tests, d)
		}
	}
	slices.SortFunc(tests, func(a, b *Difference) int { return cmp.Compare(a.P, b.P) })
	least := 0.0
	for i, d := range tests {
		least = max(least, min(1, d.P*float64(len(tests)-i)))
		d.Adjusted = least
		d.Verdict = NoDifference
		if d.Adjusted <= Alpha {
			d.Verdict = Differs
		}
	}
}
