package measure

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// pods makes Pods of subjects.
type pods interface {
	// stand makes a Pod and returns when it has done its work and rests.
	stand(ctx context.Context, s compare.Subject) (standing, error)
}

// standing is a Pod that rests after its work.
type standing interface {
	// memory is the Pod's Pss in bytes, now.
	memory(ctx context.Context) (int64, error)
	// end deletes the Pod, waits until it is gone and returns all that was
	// seen of it.
	end(ctx context.Context) (evidence.Set, error)
}

// watcher looks at the node itself between rounds.
type watcher interface {
	read(ctx context.Context) error
}

// seen is what was seen in one round, by metric.
type seen map[string][]compare.Seen

func (s seen) add(other seen) {
	for metric, list := range other {
		s[metric] = append(s[metric], list...)
	}
}

// rounds are the rounds of one comparison.
type rounds struct {
	plan    Plan
	pods    pods
	watcher watcher
	log     progress.Log
	step    progress.Step

	samples []compare.Samples
	order   [][]string // as it was visited
	// first are the Pods that stand and wait for their second, by subject.
	first map[int]standing
}

func newRounds(plan Plan, p pods, w watcher, log progress.Log) *rounds {
	r := &rounds{plan: plan, pods: p, watcher: w, log: log, first: map[int]standing{}}
	for _, s := range plan.Subjects {
		r.samples = append(r.samples, compare.Samples{Subject: s, Seen: seen{}})
	}
	return r
}

// run visits the subjects in order until ctx ends. Of a round that was not
// completed nothing counts. A Pod that fails ends the visits to its subject;
// an error is the node's.
func (r *rounds) run(ctx context.Context) (err error) {
	order := compare.Order(r.plan.Seed, len(r.plan.Subjects), r.plan.Rounds)
	var names []string
	for _, s := range r.plan.Subjects {
		names = append(names, s.Name)
	}
	total := 0
	for _, visits := range order {
		total += len(visits)
	}
	r.step = r.log.Start(fmt.Sprintf("Comparing %s: a warm-up and %d rounds", strings.Join(names, ", "), r.plan.Rounds))
	defer func() { r.step.End(errors.Join(err, ctx.Err())) }()
	done := 0
	for i, visits := range order {
		if err := r.watcher.read(ctx); err != nil {
			return interruptedOr(ctx, err)
		}
		round := r.round(ctx, visits, func(subject string) {
			r.step.Update(done, total, fmt.Sprintf("round %d of %d: %s", i, r.plan.Rounds, subject))
			done++
		})
		if ctx.Err() != nil {
			return nil
		}
		if i == 0 {
			continue // the warm-up
		}
		for subject, s := range round {
			seen(r.samples[subject].Seen).add(s)
		}
	}
	return interruptedOr(ctx, r.watcher.read(ctx))
}

// interruptedOr is err, or nil where ctx has ended: that is no fault.
func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// round makes the visits of one round and leaves no Pod behind.
func (r *rounds) round(ctx context.Context, visits []int, announce func(subject string)) map[int]seen {
	round := map[int]seen{}
	var order []string
	for i, subject := range visits {
		s := &r.samples[subject]
		announce(s.Subject.Name)
		if s.Error != "" || s.Untestable != "" || ctx.Err() != nil {
			continue
		}
		order = append(order, s.Subject.Name)
		last := true
		for _, later := range visits[i+1:] {
			last = last && later != subject
		}
		got, err := r.visit(ctx, subject, last)
		if err != nil {
			r.fail(ctx, subject, err)
			continue
		}
		if got != nil {
			round[subject] = got
		}
	}
	for subject, p := range r.first {
		delete(r.first, subject)
		_, _ = p.end(ctx) // its second failed, or ctx has ended: that is known
	}
	r.order = append(r.order, order)
	return round
}

func (r *rounds) fail(ctx context.Context, subject int, err error) {
	s := &r.samples[subject]
	var u *evidence.Untestable
	switch {
	case ctx.Err() != nil:
		// It broke because the run is being ended.
	case errors.As(err, &u):
		s.Untestable = u.Reason
		r.log.Info("%s is left out: %s", s.Subject.Name, u.Reason)
	default:
		s.Error = err.Error()
		r.log.Info("%s is left out from here on: %s", s.Subject.Name, err)
	}
}

// visit makes one Pod of the subject. The first of a round is left standing;
// the second, which is the last, ends both and gives what was seen of them.
func (r *rounds) visit(ctx context.Context, subject int, last bool) (seen, error) {
	now, err := r.pods.stand(ctx, r.plan.Subjects[subject])
	if err != nil {
		return nil, err
	}
	first, paired := r.first[subject]
	switch {
	case !last:
		r.first[subject] = now
		return nil, nil
	case !paired: // the warm-up, or its first one failed
		set, err := now.end(ctx)
		if err != nil {
			return nil, err
		}
		return podSeen(set)
	}
	delete(r.first, subject)
	got, err := pair(ctx, first, now)
	if err != nil {
		// What could be ended has been: to end twice is no harm.
		_, _ = first.end(ctx)
		_, _ = now.end(ctx)
	}
	return got, err
}

// pair measures two Pods that stand side by side, and ends them.
func pair(ctx context.Context, first, second standing) (seen, error) {
	// The second was looked at just now, while the first stood.
	firstBeside, err := first.memory(ctx)
	if err != nil {
		return nil, err
	}
	firstSet, err := first.end(ctx)
	if err != nil {
		return nil, err
	}
	secondAlone, err := second.memory(ctx)
	if err != nil {
		return nil, err
	}
	secondSet, err := second.end(ctx)
	if err != nil {
		return nil, err
	}
	firstAlone, err := pss(firstSet)
	if err != nil {
		return nil, err
	}
	secondBeside, err := pss(secondSet)
	if err != nil {
		return nil, err
	}
	got, err := podSeen(firstSet)
	if err != nil {
		return nil, err
	}
	more, err := podSeen(secondSet)
	if err != nil {
		return nil, err
	}
	got.add(more)
	tree := evidence.Source{Kind: "file", Ref: "/proc/PID/smaps_rollup Pss of the shim and all below it", Where: firstAlone.Source.Where}
	difference := evidence.Source{Kind: "program", Ref: "Pss of both Pods less that of the first alone: " + tree.Ref, Where: tree.Where}
	got.add(seen{
		compare.MemoryFirst: {firstAlone, {Value: float64(secondAlone), Source: tree}},
		compare.MemoryNext:  {{Value: float64(firstBeside) + secondBeside.Value - firstAlone.Value, Source: difference}},
	})
	return got, nil
}
