// Package cluster is the probe family of scenarios: steps against the API
// server of the lab cluster, in namespaces of their own, each of which may
// leave evidence (docs/scenarios.md).
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is the family. Its probes make namespaces of their own, so it needs
// none of the lab.
var Kind = probe.Kind{
	Name: "cluster",
	Doc:  "steps against the API server, in namespaces of their own",
	New:  func(params []byte) (probe.Probe, error) { return New(params) },
}

// Probe is a scenario.
type Probe struct {
	params  Params
	timeout time.Duration
	steps   []step
	outputs []evidence.Output
}

var (
	_ probe.Exclusive = (*Probe)(nil)
	_ probe.Limited   = (*Probe)(nil)
	_ probe.Applying  = (*Probe)(nil)
)

// step is a Step whose verb is known.
type step struct {
	*Step
	index int
	verb  verb
	label string // for errors: steps[2] (wait as running)
}

func (s step) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %w", s.label, fmt.Errorf(format, args...))
}

// outputs are what the step gives under its name; nothing without one.
func (s step) outputs() []evidence.Output {
	if s.As == "" {
		return nil
	}
	out := slices.Clone(s.verb.outputs())
	for i := range out {
		out[i].Name = s.As + "." + out[i].Name
	}
	return out
}

// New decodes parameters into a scenario and checks all that can be checked
// without a cluster and without the manifests.
func New(params []byte) (*Probe, error) {
	p := &Probe{timeout: defaultTimeout}
	if err := probe.Decode(params, &p.params); err != nil {
		return nil, err
	}
	if len(p.params.Steps) == 0 {
		return nil, errors.New("steps: are missing")
	}
	if t := p.params.Timeout; t != nil {
		if p.timeout = t.Duration; p.timeout < time.Second {
			return nil, fmt.Errorf("timeout: %s is less than 1s", p.timeout)
		}
	}
	if err := checkOthers(p.params.Others); err != nil {
		return nil, err
	}
	for i := range p.params.Steps {
		s, err := p.newStep(i)
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, s)
		p.outputs = append(p.outputs, s.outputs()...)
	}
	if err := p.checkUntil(); err != nil {
		return nil, err
	}
	return p, p.prepare(surroundings(nil, "namespace", p.params.Others), nil)
}

func (p *Probe) newStep(i int) (step, error) {
	s := step{Step: &p.params.Steps[i], index: i, label: fmt.Sprintf("steps[%d]", i)}
	if s.As != "" && !stepName.MatchString(s.As) {
		return s, s.errorf("as: is %q; write a name for CEL: lower-case letters, digits and _, a letter first", s.As)
	}
	if s.As != "" && slices.ContainsFunc(p.steps, func(o step) bool { return o.As == s.As }) {
		return s, s.errorf("as: two steps are called %s", s.As)
	}
	name, v, err := s.Step.verb(p.timeout)
	s.verb = v
	if name != "" {
		s.label = fmt.Sprintf("steps[%d] (%s)", i, strings.TrimSuffix(name+" as "+s.As, " as "))
	}
	if err != nil {
		return s, s.errorf("%w", err)
	}
	if s.Watch != nil && s.As == "" {
		return s, s.errorf("as: is missing; nobody sees what a watch without a name gives")
	}
	return s, nil
}

// checkUntil wants every watch to end by a later step that has a name.
func (p *Probe) checkUntil() error {
	for i, s := range p.steps {
		if s.Until == "" {
			continue
		}
		if !slices.ContainsFunc(p.steps[i+1:], func(later step) bool { return later.As == s.Until }) {
			return s.errorf("until: no later step is called %q", s.Until)
		}
	}
	return nil
}

// prepare goes through the steps with samples of what they leave: every name
// is known, every expression compiles. manifests may be nil: then what is in
// them is not looked at.
func (p *Probe) prepare(around Names, manifests fs.FS) error {
	var left evidence.Set
	for _, s := range p.steps {
		names := values(left, around)
		if _, err := s.verb.prepare(names); err != nil {
			return s.errorf("%w", err)
		}
		if send, ok := s.verb.(*sendVerb); ok && manifests != nil {
			if _, err := send.objects(names, manifests); err != nil {
				return s.errorf("%w", err)
			}
		}
		left = append(left, p.leaves(s, sample)...)
	}
	return nil
}

// leaves is what can be named after a step: its own values, and those of the
// watches that end by it.
func (p *Probe) leaves(s step, of func([]evidence.Output) evidence.Set) evidence.Set {
	var left evidence.Set
	if s.Watch == nil {
		left = append(left, of(s.outputs())...)
	}
	for _, w := range p.steps {
		if w.Watch != nil && w.Until != "" && w.Until == s.As {
			left = append(left, of(w.outputs())...)
		}
	}
	return left
}

// Outputs implements probe.Probe.
func (p *Probe) Outputs() []evidence.Output { return p.outputs }

// Exclusive implements probe.Exclusive.
func (p *Probe) Exclusive() bool { return p.params.Exclusive }

// Limit implements probe.Limited: what the steps may take, and the cleaning.
func (p *Probe) Limit() time.Duration { return p.timeout + cleanLimit + goneLimit }

// Manifests implements probe.Applying.
func (p *Probe) Manifests() []string {
	var out []string
	for _, s := range p.steps {
		if s.Apply != "" && !slices.Contains(out, s.Apply) {
			out = append(out, s.Apply)
		}
	}
	return out
}

// Check implements probe.Applying: the manifests are there, are objects, and
// hold no name that isn't known.
func (p *Probe) Check(manifests fs.FS) error {
	return p.prepare(surroundings(nil, "namespace", p.params.Others), manifests)
}

// Run implements probe.Probe.
func (p *Probe) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	if env.Cluster == nil {
		return nil, evidence.Untestablef("there is no cluster")
	}
	w, err := newWorld(env, p.params)
	if err != nil {
		return nil, err
	}
	// What this cluster can't show is said before anything is made.
	if err := p.prepare(w.around, env.Manifests); err != nil {
		return nil, err
	}
	set, err := p.run(ctx, w)
	if cleaning := w.clean(ctx); cleaning != nil {
		err = errors.Join(err, fmt.Errorf("cleaning up: %w", cleaning))
	}
	if err != nil {
		return nil, err
	}
	return set, nil
}

// run makes the namespaces and does the steps.
func (p *Probe) run(ctx context.Context, w *world) (evidence.Set, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("the scenario took longer than %s", p.timeout))
	defer cancel()
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	var all evidence.Set
	for _, s := range p.steps {
		set, err := p.step(ctx, w, s)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return nil, s.errorf("%w", err)
		}
		all = append(all, set...)
		w.left = append(w.left, set...)
	}
	ended, err := w.endWatches(ctx, func(*watching) bool { return true })
	return append(all, ended...), err
}

// step does one step, and ends the watches that end by it.
func (p *Probe) step(ctx context.Context, w *world, s step) (evidence.Set, error) {
	do, err := s.verb.prepare(w.names())
	if err != nil {
		return nil, err
	}
	w.step = s
	set, err := do(ctx, w)
	var unmet *unmet
	switch {
	case errors.As(err, &unmet) && s.As != "" && ctx.Err() == nil:
	case err != nil:
		return nil, err
	}
	if s.As == "" {
		return nil, nil
	}
	set = set.Under(s.As)
	ended, err := w.endWatches(ctx, func(x *watching) bool { return x.until == s.As })
	return append(set, ended...), err
}

// action does what a step says. What didn't come out as it must is an *unmet
// beside its evidence; all other errors break the probe.
type action func(ctx context.Context, w *world) (evidence.Set, error)

// unmet is a refusal, a condition that wasn't met, a command that failed:
// evidence if the step has a name, else an error.
type unmet struct{ error }

func (u *unmet) Unwrap() error { return u.error }

// modes are those that steps may have.
var modes = []apply.Mode{apply.ServerSide, apply.Create, apply.DryRun}
