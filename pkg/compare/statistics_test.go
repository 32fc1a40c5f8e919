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
	wantEstimate(t, "four", ratio([]float64{2, 3, 4, 5}, base), Estimate{3.5, 2, 5, 1 - 2./70})
	// Quotients 1…6, each six times: 5 and the one at U = 5 are left out.
	wantEstimate(t, "six", ratio([]float64{1, 2, 3, 4, 5, 6}, []float64{1, 1, 1, 1, 1, 1}), Estimate{3.5, 1, 6, 0.95887})
	wantEstimate(t, "three have 90 % at most", ratio([]float64{2, 3, 4}, []float64{1, 1, 1}), Estimate{3, 2, 4, 0.9})
	for _, bad := range [][]float64{{0, 1}, {-1, 1}, {}} {
		if r := ratio(bad, base); r != nil {
			t.Errorf("ratio of %v: %+v", bad, *r)
		}
		if r := ratio(base, bad); r != nil {
			t.Errorf("ratio to %v: %+v", bad, *r)
		}
	}
}

// alone is the verdict of one comparison.
func alone(values, base []float64) *Difference {
	d := differ(values, base)
	judge([]*Difference{d})
	return d
}

// runcStarts are two sets of six starts in seconds that one program gave, and
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
			d := alone(c.values, c.base)
			if d.Verdict != c.want {
				t.Errorf("%q (p %v), want %q", d.Verdict, d.P, c.want)
			}
			if holds := d.Ratio.Low <= 1 && 1 <= d.Ratio.High; holds != c.one {
				t.Errorf("ratio %+v holds 1: %v, want %v", *d.Ratio, holds, c.one)
			}
		})
	}
	if differ(nil, starts) != nil || differ(starts, nil) != nil {
		t.Error("nothing was compared")
	}
}

// One program measured twice must come out as different no more often than
// the error rate allows, over many comparisons drawn from one distribution
// with a long tail; and the ratio's interval must hold 1 as often as it says.
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
			var list []*Difference
			for range metrics {
				list = append(list, differ(draw(n), draw(n)))
			}
			judge(list)
			any := false
			for _, d := range list {
				any = any || d.Verdict == Differs
				if d.Ratio.Low > 1 || d.Ratio.High < 1 {
					missed++
				}
			}
			if any {
				wrong++
			}
		}
		// 5 % of 200 runs are 10; by chance up to about 20 (binomial, 0.1 %).
		if wrong > 20 {
			t.Errorf("n %d: %d of %d runs find a difference where none is", n, wrong, runs)
		}
		if share := float64(missed) / (runs * metrics); share > 0.06 {
			t.Errorf("n %d: %.1f %% of the intervals miss the true ratio", n, 100*share)
		}
	}
}

// Holm's example: the least is taken four times, the next three times, and
// none is below one before it.
func TestJudge(t *testing.T) {
	list := []*Difference{{P: 0.01}, {P: 0.04}, {P: 0.03}, {P: 0.005}, {P: 0.1, Verdict: TooFew}}
	judge(list)
	for i, want := range []struct {
		adjusted float64
		verdict  Verdict
	}{{0.03, Differs}, {0.06, NoDifference}, {0.06, NoDifference}, {0.02, Differs}, {0.1, TooFew}} {
		if !near(list[i].Adjusted, want.adjusted) || list[i].Verdict != want.verdict {
			t.Errorf("%d: %+v, want %+v", i, *list[i], want)
		}
	}
	judge(nil)
}
