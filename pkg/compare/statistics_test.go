package compare

import (
	"math"
	"math/rand/v2"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(b)) }

func wantEstimate(t *testing.T, what string, got *Estimate, want Estimate) {
	t.Helper()
	if got == nil {
		t.Fatalf("%s: none, want %+v", what, want)
	}
	if !near(got.Value, want.Value) || !near(got.Low, want.Low) || !near(got.High, want.High) || math.Abs(got.Confidence-want.Confidence) > 1e-4 {
		t.Errorf("%s: %+v, want %+v", what, *got, want)
	}
}

// The intervals are those of tables for the sign test: with 6 samples the
// range holds the median with 96.9 %, with 10 the second to the ninth with
// 97.9 %, and with 3 the range with only 75 %.
func TestMedian(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   Estimate
	}{
		{"one", []float64{5}, Estimate{5, 5, 5, 0}},
		{"three", []float64{3, 1, 2}, Estimate{2, 1, 3, 0.75}},
		{"six", []float64{6, 5, 4, 3, 2, 1}, Estimate{3.5, 1, 6, 0.96875}},
		{"ten", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, Estimate{5.5, 2, 9, 0.978515625}},
		{"one outlier is none of the median's business", []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 1000}, Estimate{5.5, 2, 9, 0.978515625}},
	} {
		t.Run(c.name, func(t *testing.T) { wantEstimate(t, "median", median(c.values), c.want) })
	}
	if median(nil) != nil {
		t.Error("a median of nothing")
	}
}

func TestMedianLeavesTheOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	median(values)
	if values[0] != 3 {
		t.Errorf("the samples were sorted: %v", values)
	}
}

// The interval leaves out as many of the sorted quotients at each end as the
// tables of U allow: at 5 % U is critical at 5 for 6 and 6 samples, and at 0
// for 4 and 4.
func TestRatio(t *testing.T) {
	base := []float64{1, 1, 1, 1}
	wantEstimate(t, "four", ratio([]float64{2, 3, 4, 5}, base, Alpha), Estimate{3.5, 2, 5, 1 - 2./70})
	// Quotients 1…6, each six times: 5 and the one at U = 5 are left out.
	wantEstimate(t, "six", ratio([]float64{1, 2, 3, 4, 5, 6}, []float64{1, 1, 1, 1, 1, 1}, Alpha), Estimate{3.5, 1, 6, 0.95887})
	wantEstimate(t, "three have 90 % at most", ratio([]float64{2, 3, 4}, []float64{1, 1, 1}, Alpha), Estimate{3, 2, 4, 0.9})
	for _, bad := range [][]float64{{0, 1}, {-1, 1}, {}} {
		if r := ratio(bad, base, Alpha); r != nil {
			t.Errorf("ratio of %v: %+v", bad, *r)
		}
		if r := ratio(base, bad, Alpha); r != nil {
			t.Errorf("ratio to %v: %+v", bad, *r)
		}
	}
}

// starts and again are two sets of six starts in seconds that one program gave,
// slower those of another.
var (
	starts = []float64{0.412, 0.398, 0.431, 0.405, 0.419, 0.402}
	again  = []float64{0.409, 0.415, 0.399, 0.428, 0.403, 0.411}
	slower = []float64{0.655, 0.641, 0.672, 0.648, 0.660, 0.652}
)

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name         string
		values, base []float64
		want         Verdict
		one          bool // the ratio's interval holds 1
	}{
		{"the same program", again, starts, NoDifference, true},
		{"the same samples", starts, starts, NoDifference, true},
		{"another program", slower, starts, Differs, false},
		{"the other way round", starts, slower, Differs, false},
		{"all equal", []float64{1, 1, 1, 1, 1, 1}, []float64{1, 1, 1, 1, 1, 1}, NoDifference, true},
		{"constant and different", []float64{2, 2, 2, 2, 2, 2}, []float64{1, 1, 1, 1, 1, 1}, Differs, false},
		{"one outlier makes no difference", []float64{0.41, 0.415, 0.399, 0.428, 0.403, 9}, starts, NoDifference, true},
		{"three can't show any", []float64{10, 11, 12}, []float64{1, 2, 3}, TooFew, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := differ(c.values, c.base, Alpha/10)
			if d.Verdict != c.want {
				t.Errorf("%q (p %v), want %q", d.Verdict, d.P, c.want)
			}
			if holds := d.Ratio.Low <= 1 && 1 <= d.Ratio.High; holds != c.one {
				t.Errorf("ratio %+v holds 1: %v, want %v", *d.Ratio, holds, c.one)
			}
		})
	}
}

// At the level of one of many comparisons, six samples still show a complete
// separation, and five don't.
func TestLevel(t *testing.T) {
	low, high := []float64{1, 2, 3, 4, 5, 6}, []float64{11, 12, 13, 14, 15, 16}
	if d := differ(high, low, Alpha/10); d.Verdict != Differs || d.Ratio.Low <= 1 || d.Ratio.Confidence < 1-Alpha/10 {
		t.Errorf("six: %+v %+v", d, d.Ratio)
	}
	if d := differ(high[:5], low[:5], Alpha/10); d.Verdict != TooFew {
		t.Errorf("five: %+v", d)
	}
	three, six := [][]float64{low[:3]}, [][]float64{low, low, low[:3]}
	if l := together(six, six); l != Alpha/2 {
		t.Errorf("two tests and one that can't show anything: level %v", l)
	}
	if l := together(three, three); l != Alpha {
		t.Errorf("no test: level %v", l)
	}
}

// One program measured twice must come out as different, in any metric, in no
// more runs than the error rate allows, over many runs drawn from one
// distribution with a long tail; and the intervals must hold 1 as often.
func TestErrorRate(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	draw := func(n int) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = math.Exp(random.NormFloat64() / 4)
		}
		return out
	}
	const runs, metrics = 200, 10
	for _, n := range []int{6, 20} {
		wrong, missed := 0, 0
		for range runs {
			differs, misses := false, false
			for range metrics {
				d := differ(draw(n), draw(n), Alpha/metrics)
				differs = differs || d.Verdict == Differs
				misses = misses || d.Ratio.Low > 1 || d.Ratio.High < 1
			}
			if differs {
				wrong++
			}
			if misses {
				missed++
			}
		}
		// 5 % of 200 runs are 10; by chance up to about 20 (binomial, 0.1 %).
		if wrong > 20 || missed > 20 {
			t.Errorf("n %d: %d of %d runs find a difference where none is, %d have an interval without 1", n, wrong, runs, missed)
		}
	}
}

// A difference of a tenth, with noise of a twentieth, is found by twenty
// samples in nearly every run, and the interval holds it.
func TestPower(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	draw := func(center float64) []float64 {
		out := make([]float64, 20)
		for i := range out {
			out[i] = center * math.Exp(random.NormFloat64()/20)
		}
		return out
	}
	const runs = 100
	found, held := 0, 0
	for range runs {
		d := differ(draw(1.1), draw(1), Alpha/10)
		if d.Verdict == Differs {
			found++
		}
		if d.Ratio.Low <= 1.1 && 1.1 <= d.Ratio.High {
			held++
		}
	}
	if found < 95 || held < 95 {
		t.Errorf("of %d runs %d find the difference, %d intervals hold it", runs, found, held)
	}
}
