package verify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// abandonAfter is how long a probe may go on after its context has ended.
const abandonAfter = 2 * time.Second

// outcome is what one probe gave. Interrupted means that the run was ended
// before it was done.
type outcome struct {
	set         evidence.Set
	err         error
	interrupted bool
	seconds     float64
}

// measurement is one probe to run, for one claim or several.
type measurement struct {
	key, label, namespace string
	probe                 probe.Probe
	// needs are the add-ons that must be up before it begins.
	needs []string
	alone bool
}

// key is the same for probes that measure the same thing. The namespace is
// part of it: there may be objects in it that the probe looks at; and so are
// the add-ons that are up, or aren't, meanwhile.
func key(namespace string, c lab.Compiled, p lab.Probe) string {
	var params any
	// The parameters were decoded before; Unmarshal and Marshal sort them.
	_ = json.Unmarshal(p.With, &params)
	sorted, _ := json.Marshal(params)
	return string(bytes.Join([][]byte{[]byte(namespace), []byte(surroundings(c)), []byte(p.Kind), sorted}, []byte{0}))
}

// measurements are the probes of a phase that no phase before has run: those
// that may take longest first, so that nothing waits for them at the end.
// unmet are the add-ons that aren't away as they should be.
func (r *run) measurements(p phase, unmet map[string]error) []measurement {
	var out []measurement
	queued := map[string]bool{}
	for _, t := range p.tasks {
		for _, pr := range t.claim.Probes {
			k := key(t.namespace, t.claim, pr)
			if _, ok := r.seen[k]; ok || queued[k] {
				continue
			}
			queued[k] = true
			made, err := newProbe(r.Kinds, pr.Kind, pr.With)
			if err == nil {
				err = first(t.claim.Without, unmet)
			}
			if err != nil {
				r.seen[k] = outcome{err: err}
				continue
			}
			m := measurement{
				key: k, label: fmt.Sprintf("%s %s %s", t.claim.ID, pr.Kind, pr.As),
				namespace: t.namespace, probe: made, needs: t.claim.Addons,
			}
			if e, ok := made.(probe.Exclusive); ok {
				m.alone = e.Exclusive()
			}
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b measurement) int {
		return cmp.Compare(r.timeout(b.probe), r.timeout(a.probe))
	})
	return out
}

func first(names []string, errs map[string]error) error {
	for _, name := range names {
		if err := errs[name]; err != nil {
			return err
		}
	}
	return nil
}

// measure runs the probes of a phase: side by side, as the add-ons that they
// need come up, then those that want the machine for themselves, one at a time.
func (r *run) measure(ctx context.Context, p phase, step progress.Step) {
	waiting := r.measurements(p, r.away(ctx, p))
	done, total := 0, len(waiting)
	step.Update(0, total, "")
	finish := func(m measurement, o outcome) {
		r.seen[m.key] = o
		done++
		step.Update(done, total, m.label)
	}
	arrivals := make(chan arrival)
	coming := slices.Concat(p.loud, p.quiet)
	there := map[string]bool{}
	arrive := func(a arrival) {
		r.images = merged(r.images, a.images)
		there[a.name] = true
		waiting = slices.DeleteFunc(waiting, func(m measurement) bool {
			lost := a.err != nil && slices.Contains(m.needs, a.name)
			if lost {
				finish(m, outcome{err: a.err})
			}
			return lost
		})
	}
	go r.up(ctx, coming, arrivals)
	// Nothing is measured while what everything notices comes.
	for range p.loud {
		arrive(<-arrivals)
	}
	type finished struct {
		measurement
		outcome
	}
	results := make(chan finished)
	running := 0
	ready := func(m measurement) bool {
		return !m.alone && !slices.ContainsFunc(m.needs, func(name string) bool { return !there[name] })
	}
	for {
		for running < r.sideBySide() {
			i := slices.IndexFunc(waiting, ready)
			if i < 0 {
				break
			}
			m, env := waiting[i], r.environment(waiting[i])
			env.Later = r.pending.add
			waiting = slices.Delete(waiting, i, i+1)
			running++
			go func() { results <- finished{m, r.one(ctx, m, env)} }()
		}
		if running == 0 && len(there) == len(coming) {
			break
		}
		select {
		case a := <-arrivals:
			arrive(a)
		case f := <-results:
			running--
			finish(f.measurement, f.outcome)
		}
	}
	if len(waiting) == 0 {
		return
	}
	// What is being removed would disturb those that want to be alone.
	r.settle(ctx)
	for len(waiting) > 0 {
		m := waiting[0]
		waiting = waiting[1:]
		finish(m, r.one(ctx, m, r.environment(m)))
	}
}

// sideBySide is how many probes run at once. Most of them wait for the
// cluster; more would queue for the cores and run into their timeouts.
func (r *run) sideBySide() int { return max(4, 3*runtime.NumCPU()) }

func (r *run) environment(m measurement) probe.Environment {
	env := r.Env
	env.Namespace, env.Images = m.namespace, r.images
	return env
}

// one runs one probe within its time, and survives whatever it does.
func (r *run) one(ctx context.Context, m measurement, env probe.Environment) outcome {
	if ctx.Err() != nil {
		return outcome{interrupted: true}
	}
	timeout := r.timeout(m.probe)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	answer := make(chan outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				_, _ = fmt.Fprintf(r.Log.Output(), "probe %s panicked: %v\n%s\n", m.label, p, debug.Stack())
				answer <- outcome{err: fmt.Errorf("the probe panicked: %v", p)}
			}
		}()
		set, err := m.probe.Run(limited, env)
		answer <- outcome{set: set, err: err}
	}()
	var o outcome
	select {
	case o = <-answer:
	case <-limited.Done():
		select {
		case o = <-answer:
		case <-time.After(abandonAfter):
			o = outcome{err: errors.New("the probe didn't end when it was told to")}
		}
	}
	var untestable *evidence.Untestable
	switch {
	case ctx.Err() != nil && o.err != nil:
		o = outcome{interrupted: true}
	case limited.Err() != nil && o.err != nil && !errors.As(o.err, &untestable):
		o.err = fmt.Errorf("took longer than %s: %w", timeout, o.err)
	case o.err == nil, errors.As(o.err, &untestable):
		set, err := declared(o.set, m.probe.Outputs())
		if o.set = set; err != nil {
			o.err = err
		}
	}
	o.seconds = time.Since(began).Seconds()
	return o
}

// timeout is how long a probe may take: what the user says, else the default,
// or more where the probe knows that it may need it.
func (r *run) timeout(p probe.Probe) time.Duration {
	if r.Timeout != 0 {
		return r.Timeout
	}
	if l, ok := p.(probe.Limited); ok {
		return max(DefaultTimeout, l.Limit())
	}
	return DefaultTimeout
}

// declared checks a set against what its probe declares: names, types, units.
func declared(set evidence.Set, outputs []evidence.Output) (evidence.Set, error) {
	set = slices.Clone(set)
	seen := map[string]bool{}
	for i, v := range set {
		at := slices.IndexFunc(outputs, func(o evidence.Output) bool { return o.Name == v.Name })
		if at < 0 {
			return nil, fmt.Errorf("the probe returned %s, which it doesn't declare", v.Name)
		}
		if seen[v.Name] {
			return nil, fmt.Errorf("the probe returned %s twice", v.Name)
		}
		seen[v.Name] = true
		o := outputs[at]
		if v.Type != o.Type {
			return nil, fmt.Errorf("the probe returned %s as %s, but declares %s", v.Name, v.Type, o.Type)
		}
		if err := held(v); err != nil {
			return nil, err
		}
		if v.Unit == "" {
			set[i].Unit = o.Unit
		} else if o.Unit != "" && v.Unit != o.Unit {
			return nil, fmt.Errorf("the probe returned %s in %s, but declares %s", v.Name, v.Unit, o.Unit)
		}
	}
	return set, nil
}

// held checks that a value is held in the Go type that its Type stands for.
func held(v evidence.Value) error {
	ok := false
	switch v.Type {
	case evidence.Bool:
		_, ok = v.Value.(bool)
	case evidence.Int:
		_, ok = v.Value.(int64)
	case evidence.Double:
		_, ok = v.Value.(float64)
	case evidence.String:
		_, ok = v.Value.(string)
	case evidence.Duration:
		_, ok = v.Value.(time.Duration)
	case evidence.List:
		_, ok = v.Value.([]string)
	case evidence.Quantity:
		text, isText := v.Value.(string)
		_, err := resource.ParseQuantity(text)
		ok = isText && err == nil
	}
	if !ok {
		return fmt.Errorf("the probe returned %s as %s, but it holds %T %v", v.Name, v.Type, v.Value, v.Value)
	}
	return nil
}
