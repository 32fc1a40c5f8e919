package measure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// house plays the cluster: it makes Pods that give what their subject costs,
// and knows who stands.
type house struct {
	t      *testing.T
	cost   map[string]float64 // by subject
	made   int
	stands []string
	// fail is asked before the nth Pod (from 1) of all is made.
	fail func(n int, subject string) error
	// failMemory is asked when a standing Pod is looked at.
	failMemory func() error
}

type guest struct {
	house   *house
	subject string
	beside  bool // it came while another of its kind stood
	ended   bool
}

func (h *house) stand(ctx context.Context, s compare.Subject) (standing, error) {
	h.made++
	if h.fail != nil {
		if err := h.fail(h.made, s.Name); err != nil {
			return nil, err
		}
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	g := &guest{house: h, subject: s.Name, beside: slices.Contains(h.stands, s.Name)}
	h.stands = append(h.stands, s.Name)
	return g, nil
}

func (g *guest) alone() bool {
	n := 0
	for _, s := range g.house.stands {
		if s == g.subject {
			n++
		}
	}
	return n == 1
}

// The Pss of a Pod alone is 100 times its cost; beside another it has 60 and
// the other has 60 too: the second adds 20.
func share(cost float64, alone bool) int64 {
	if alone {
		return int64(100 * cost)
	}
	return int64(60 * cost)
}

func (g *guest) memory(context.Context) (int64, error) {
	if g.house.failMemory != nil {
		if err := g.house.failMemory(); err != nil {
			return 0, err
		}
	}
	return share(g.house.cost[g.subject], g.alone()), nil
}

func (g *guest) end(context.Context) (evidence.Set, error) {
	if g.ended {
		return nil, nil
	}
	g.ended = true
	i := slices.Index(g.house.stands, g.subject)
	g.house.stands = slices.Delete(g.house.stands, i, i+1)
	return podEvidence(g.house.cost[g.subject], share(g.house.cost[g.subject], !g.beside)), nil
}

// podEvidence is what the family pod gives with labprobe work.
func podEvidence(cost float64, pss int64) evidence.Set {
	d := time.Duration(cost * float64(time.Second))
	set := evidence.Set{{Name: "node.pss", Type: evidence.Quantity, Value: fmt.Sprint(pss), Unit: "bytes"}}
	for _, name := range []string{"pod.start", "pod.runtime_start", "pod.ready", "pod.deleted"} {
		set = append(set, evidence.Value{Name: name, Type: evidence.Duration, Value: d})
	}
	for _, name := range []string{"cpu", "pread", "write", "read"} {
		set = append(set, evidence.Value{Name: name + ".cost", Type: evidence.Double, Value: cost, Unit: "ns/op"})
	}
	return append(set, evidence.Value{Name: "syscall.untestable", Type: evidence.String, Value: "no system calls"})
}

type quietNode struct{ reads int }

func (q *quietNode) read(context.Context) error { q.reads++; return nil }

func plan(names ...string) Plan {
	p := Plan{Baseline: names[0], Rounds: 3, Seed: 1}
	for _, n := range names {
		p.Subjects = append(p.Subjects, compare.Subject{Name: n, Runtime: "runc", Class: n})
	}
	return p
}

func run(ctx context.Context, h *house, names ...string) (*rounds, *quietNode, error) {
	q := &quietNode{}
	r := newRounds(plan(names...), h, q, progress.Discard)
	err := r.run(ctx)
	if len(h.stands) > 0 {
		h.t.Errorf("left standing: %v", h.stands)
	}
	return r, q, err
}

func TestRounds(t *testing.T) {
	h := &house{t: t, cost: map[string]float64{"runc": 1, "gvisor": 2}}
	r, q, err := run(t.Context(), h, "runc", "gvisor")
	if err != nil {
		t.Fatal(err)
	}
	if h.made != 2+3*4 || q.reads != 5 || len(r.order) != 4 {
		t.Errorf("%d Pods, %d readings, order %v", h.made, q.reads, r.order)
	}
	for i, s := range r.samples {
		cost := float64(i + 1)
		for _, m := range compare.Metrics() {
			want, n := cost, 6
			switch m.Name {
			case compare.MemoryFirst:
				want = 100 * cost
			case compare.MemoryNext:
				want, n = 20*cost, 3
			}
			seen := s.Seen[m.Name]
			if len(seen) != n {
				t.Errorf("%s %s: %d samples, want %d", s.Subject.Name, m.Name, len(seen), n)
			}
			for _, v := range seen {
				if m.Name == "syscall" && v.Untestable == "" || m.Name != "syscall" && v.Value != want {
					t.Errorf("%s %s: %+v, want %v", s.Subject.Name, m.Name, v, want)
				}
			}
		}
	}
}

// A Pod that fails ends its runtime's part, wherever it fails; the others go
// on, and no Pod is left.
func TestRoundsWithAFailure(t *testing.T) {
	for n := 1; n <= 14; n++ {
		var failed string
		h := &house{t: t, cost: map[string]float64{"runc": 1, "gvisor": 2}}
		h.fail = func(made int, subject string) error {
			if made == n {
				failed = subject
				return errors.New("the Pod didn't start")
			}
			return nil
		}
		r, _, err := run(t.Context(), h, "runc", "gvisor")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range r.samples {
			if s.Subject.Name == failed {
				if s.Error != "the Pod didn't start" {
					t.Errorf("Pod %d: %s has error %q", n, failed, s.Error)
				}
			} else if s.Error != "" || len(s.Seen["cpu"]) != 6 {
				t.Errorf("Pod %d: %s has %d samples, error %q", n, s.Subject.Name, len(s.Seen["cpu"]), s.Error)
			}
		}
		for _, out := range compare.Evaluate(r.samples, "runc") {
			if out.Name == failed && len(out.Results) > 0 {
				t.Errorf("Pod %d: %s failed and has numbers", n, failed)
			}
		}
	}
}

func TestRoundsUntestable(t *testing.T) {
	h := &house{t: t, cost: map[string]float64{"runc": 1, "gvisor": 2}}
	h.fail = func(_ int, subject string) error {
		if subject == "gvisor" {
			return fmt.Errorf("under gvisor: %w", evidence.Untestablef("no RuntimeClass"))
		}
		return nil
	}
	r, _, err := run(t.Context(), h, "runc", "gvisor")
	if err != nil || r.samples[1].Untestable != "no RuntimeClass" || r.samples[1].Error != "" || len(r.samples[0].Seen["cpu"]) != 6 {
		t.Errorf("%v, %+v", err, r.samples)
	}
}

func TestRoundsWithoutMemory(t *testing.T) {
	h := &house{t: t, cost: map[string]float64{"runc": 1, "gvisor": 2}}
	h.failMemory = func() error { return errors.New("no processes") }
	r, _, err := run(t.Context(), h, "runc", "gvisor")
	if err != nil || r.samples[0].Error != "no processes" || r.samples[1].Error != "no processes" {
		t.Errorf("%v, %+v", err, r.samples)
	}
}

// Ctrl-C: complete rounds count, what ended because of it is no failure.
func TestRoundsInterrupted(t *testing.T) {
	for n := 1; n <= 14; n++ {
		ctx, cancel := context.WithCancel(t.Context())
		h := &house{t: t, cost: map[string]float64{"runc": 1, "gvisor": 2}}
		h.fail = func(made int, _ string) error {
			if made == n {
				cancel()
			}
			return nil
		}
		r, _, err := run(ctx, h, "runc", "gvisor")
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if n > 2 {
			want = (n - 3) / 4 * 2
		}
		for _, s := range r.samples {
			if s.Error != "" || s.Untestable != "" || len(s.Seen["cpu"]) != want {
				t.Errorf("Pod %d: %s has %d samples (want %d), error %q", n, s.Subject.Name, len(s.Seen["cpu"]), want, s.Error)
			}
		}
	}
}

func TestPodSeen(t *testing.T) {
	whole := podEvidence(1, 100)
	if _, err := podSeen(whole); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pod.start", "cpu.cost", "syscall.untestable"} {
		without := slices.DeleteFunc(slices.Clone(whole), func(v evidence.Value) bool { return v.Name == name })
		if _, err := podSeen(without); err == nil || !strings.Contains(err.Error(), "gave no") {
			t.Errorf("without %s: error %v", name, err)
		}
	}
	if _, err := pss(evidence.Set{{Name: "node.pss", Value: "much"}}); err == nil {
		t.Error("a quantity that is none: no error")
	}
	if _, err := pss(nil); err == nil {
		t.Error("no memory: no error")
	}
}
