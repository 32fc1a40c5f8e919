package compare

import (
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
// of all quotients of a value and a base value, with the interval of at least
// 1 - level that belongs to the Mann-Whitney U test (Hodges and Lehmann 1963,
// on logarithms): it holds 1 just where that test shows no difference. With
// too few samples for that confidence, the interval is from the least to the
// greatest quotient. Nil where a value isn't above 0.
func ratio(values, base []float64, level float64) *Estimate {
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
	// may have without a difference, with probability level/2.
	u := stats.UDist{N1: len(values), N2: len(base)}
	k := max(0, sort.Search(len(quotients)/2, func(k int) bool { return u.CDF(float64(k)) > level/2 })-1)
	n := len(quotients)
	middle := (quotients[(n-1)/2] + quotients[n/2]) / 2
	return &Estimate{Value: middle, Low: quotients[k], High: quotients[n-1-k], Confidence: 1 - 2*u.CDF(float64(k))}
}

// leastP is the least probability that the test can give for so many samples.
func leastP(values, base []float64) float64 {
	return min(1, 2*(stats.UDist{N1: len(values), N2: len(base)}).CDF(0))
}

// differ compares values with those of the base at a level.
func differ(values, base []float64, level float64) *Difference {
	d := &Difference{
		Ratio: ratio(values, base, level),
		P:     benchmath.AssumeNothing.Compare(sample(values), sample(base)).P,
		Level: level, Verdict: NoDifference,
	}
	switch {
	case leastP(values, base) > level:
		d.Verdict = TooFew
	case d.P <= level:
		d.Verdict = Differs
	}
	return d
}

// together is the level at which each of several comparisons has to be judged
// so that Alpha holds for all of them together (Bonferroni): a dozen tests at
// 5 % each would find a difference by chance in every second run. What has too
// few samples to show anything is no test.
func together(values, base [][]float64) float64 {
	tests := 0
	for i := range values {
		if leastP(values[i], base[i]) <= Alpha {
			tests++
		}
	}
	return Alpha / float64(max(1, tests))
}
