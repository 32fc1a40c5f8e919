package compare

import (
	"slices"
	"testing"
)

func samples(name string, start []float64) Samples {
	s := Samples{Subject: Subject{Name: name, Runtime: "runc"}, Seen: map[string][]Seen{}}
	for _, v := range start {
		for _, m := range Metrics() {
			s.Seen[m.Name] = append(s.Seen[m.Name], Seen{Value: v})
		}
	}
	return s
}

func TestEvaluate(t *testing.T) {
	broken := samples("broken", slower)
	broken.Error = "the Pod didn't start"
	missing := samples("missing", nil)
	missing.Untestable = "no RuntimeClass"
	without := samples("without", again)
	without.Seen["syscall"] = []Seen{{Value: 1}, {Untestable: "no system calls"}}
	rs := Evaluate([]Samples{samples("runc", starts), samples("same", again), samples("other", slower), broken, missing, without}, "runc")

	for _, r := range rs {
		wantResults := len(Metrics())
		if r.Name == "broken" || r.Name == "missing" {
			wantResults = 0 // a failure is no number
		}
		if len(r.Results) != wantResults {
			t.Errorf("%s: %d results, want %d", r.Name, len(r.Results), wantResults)
		}
		for _, m := range r.Results {
			switch {
			case r.Name == "without" && m.Metric == "syscall":
				if m.Untestable != "no system calls" || m.Median != nil || m.Difference != nil || m.Samples != nil {
					t.Errorf("%s: %+v", r.Name, m)
				}
			case r.Name == "runc":
				if m.Difference != nil {
					t.Errorf("the baseline differs from itself: %+v", m)
				}
			case r.Name == "other" && m.Difference.Verdict != Differs, r.Name == "same" && m.Difference.Verdict != NoDifference:
				t.Errorf("%s %s: %q", r.Name, m.Metric, m.Difference.Verdict)
			}
		}
	}
	if rs[3].Error == "" || rs[4].Untestable == "" {
		t.Errorf("what failed doesn't say so: %+v, %+v", rs[3], rs[4])
	}
}

// Without a baseline there are medians and no ratios.
func TestEvaluateWithoutBaseline(t *testing.T) {
	base := samples("runc", starts)
	base.Error = "broke"
	rs := Evaluate([]Samples{base, samples("other", slower)}, "runc")
	for _, m := range rs[1].Results {
		if m.Difference != nil || m.Median == nil {
			t.Errorf("%+v", m)
		}
	}
}

func TestEvaluateInterrupted(t *testing.T) {
	rs := Evaluate([]Samples{samples("runc", nil)}, "runc")
	for _, m := range rs[0].Results {
		if m.Median != nil || m.Untestable == "" {
			t.Errorf("a number without samples, or no reason: %+v", m)
		}
	}
}

func TestOrder(t *testing.T) {
	order := Order(7, 3, 10)
	if len(order) != 11 || len(order[0]) != 3 {
		t.Fatalf("%v: want a warm-up of 3 and 10 rounds", order)
	}
	for i, round := range order {
		for subject := range 3 {
			want := VisitsPerRound
			if i == 0 {
				want = 1
			}
			if n := count(round, subject); n != want {
				t.Errorf("round %d visits subject %d %d times: %v", i, subject, n, round)
			}
		}
	}
	same := func(a, b [][]int) bool {
		return slices.EqualFunc(a, b, slices.Equal[[]int])
	}
	if !same(order, Order(7, 3, 10)) {
		t.Error("one seed gives two orders")
	}
	if same(order, Order(8, 3, 10)) {
		t.Error("two seeds give one order")
	}
	if slices.Equal(order[1], order[2]) && slices.Equal(order[2], order[3]) {
		t.Error("rounds aren't shuffled")
	}
}

func count(list []int, x int) int {
	n := 0
	for _, v := range list {
		if v == x {
			n++
		}
	}
	return n
}
