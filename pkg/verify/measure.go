package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

const (
	// sideBySide is how many probes run at once; more would only queue for
	// the cores of a small machine and run into their timeouts.
	sideBySide = 4
	// abandonAfter is how long a probe may go on after its context has ended.
	abandonAfter = 2 * time.Second
)

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
	key, label string
	probe      probe.Probe
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

// measure runs the probes of claims that no lab before has run: side by side,
// then those that want the machine for themselves, one at a time.
func (r *run) measure(ctx context.Context, namespace string, claims []lab.Compiled, step progress.Step) {
	var together, alone []measurement
	queued := map[string]bool{}
	for _, c := range claims {
		for _, p := range c.Probes {
			k := key(namespace, c, p)
			if _, ok := r.seen[k]; ok || queued[k] {
				continue
			}
			queued[k] = true
			made, err := newProbe(r.Kinds, p.Kind, p.With)
			if err != nil {
				r.seen[k] = outcome{err: err}
				continue
			}
			m := measurement{key: k, label: fmt.Sprintf("%s %s %s", c.ID, p.Kind, p.As), probe: made}
			if e, ok := made.(probe.Exclusive); ok && e.Exclusive() {
				alone = append(alone, m)
			} else {
				together = append(together, m)
			}
		}
	}
	done, total := 0, len(together)+len(alone)
	env := r.Env
	env.Namespace = namespace
	env.Images = r.images
	type finished struct {
		measurement
		outcome
	}
	results := make(chan finished, total)
	measure := func(list []measurement, limit int) {
		var group errgroup.Group
		group.SetLimit(limit)
		go func() {
			for _, m := range list {
				group.Go(func() error {
					results <- finished{m, r.one(ctx, m, env)}
					return nil
				})
			}
		}()
		for range list {
			f := <-results
			r.seen[f.key] = f.outcome
			done++
			step.Update(done, total, f.label)
		}
	}
	step.Update(0, total, "")
	env.Later = r.pending.add
	measure(together, sideBySide)
	if len(alone) == 0 {
		return
	}
	// What is being removed would disturb those that want to be alone.
	r.settle(ctx)
	env.Later = nil
	measure(alone, 1)
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
