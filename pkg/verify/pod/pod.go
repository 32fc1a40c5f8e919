// Package pod is the probe family that runs labprobe in a Pod under a runtime
// class: evidence is labprobe's report, the Pod's own life (phase, exit code,
// times), and on request what the node shows of it (shim, processes, cgroup,
// memory).
package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is the family.
var Kind = probe.Kind{
	Name:       "pod",
	Namespaced: true,
	Doc:        "labprobe in a Pod under a runtime class, and the Pod's own life",
	New:        func(params []byte) (probe.Probe, error) { return New(params) },
}

// Probe is a probe of the family.
type Probe struct {
	params    Params
	report    bool
	repeat    int
	timeout   time.Duration
	exclusive bool
	outputs   []evidence.Output
	beside    []Beside
}

var _ probe.Exclusive = (*Probe)(nil)

// Outputs implements probe.Probe.
func (p *Probe) Outputs() []evidence.Output { return p.outputs }

// Exclusive implements probe.Exclusive.
func (p *Probe) Exclusive() bool { return p.exclusive }

// Run implements probe.Probe.
func (p *Probe) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	class, err := p.class(env)
	if err != nil {
		return nil, err
	}
	kube, err := kubernetes.NewForConfig(env.Cluster.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("client for the cluster: %w", err)
	}
	return p.run(ctx, env, kube, class)
}

// class is the RuntimeClass that the Pod gets; an *evidence.Untestable where
// the run has no cluster or the cluster no such class.
func (p *Probe) class(env probe.Environment) (string, error) {
	if env.Cluster == nil {
		return "", evidence.Untestablef("there is no cluster")
	}
	if p.params.Class != "" {
		return p.params.Class, nil
	}
	class, ok := env.Cluster.RuntimeClass(p.params.Runtime)
	if !ok {
		return "", evidence.Untestablef("the cluster has no RuntimeClass for %s", p.params.Runtime)
	}
	return class, nil
}

func (p *Probe) run(ctx context.Context, env probe.Environment, kube kubernetes.Interface, class string) (evidence.Set, error) {
	var all []times
	var got seen
	for i := range p.params.Warmup + p.repeat {
		var err error
		if got, err = p.once(ctx, env, kube, class); err != nil {
			return nil, fmt.Errorf("under %s (RuntimeClass %s): %w", p.params.Runtime, class, err)
		}
		if i >= p.params.Warmup {
			all = append(all, got.times)
		}
	}
	return slices.Concat(
		got.report.At("pod/"+got.name),
		p.lifeValues(got, class).At("pod/"+got.name),
		timeValues(p.params.Observe, all).At("pod/"+got.name),
		got.side.At(got.place),
		got.beside,
	), got.unseen
}

// seen is what one Pod showed.
type seen struct {
	name    string
	outcome outcome
	log     string // the end of it, where no report is wanted
	report  evidence.Set
	times   times
	place   string // where side was seen: node/NAME
	side    evidence.Set
	beside  evidence.Set
	// unseen is why nothing was seen from the node: an *evidence.Untestable.
	unseen error
}

// once runs one Pod, from asking for it until it is gone.
func (p *Probe) once(ctx context.Context, env probe.Environment, kube kubernetes.Interface, class string) (seen, error) {
	limit, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("took longer than %s", p.timeout))
	defer cancel()
	pod, err := ask(limit, kube, p.object(env.Cluster, env.Namespace, class))
	if err != nil {
		return seen{}, err
	}
	defer pod.discard(ctx)

	got, err := p.watch(limit, env, pod)
	if err != nil {
		return seen{}, pod.explain(ctx, err)
	}
	if err := pod.remove(ctx); err != nil {
		return seen{}, err
	}
	// Its deletion is the last time of a Pod's life.
	if !pod.life.gone.IsZero() {
		got.times["pod.deleted"] = pod.life.gone.Sub(pod.life.deletion)
	}
	return got, nil
}

// watch follows the Pod to where all that the probe wants can be seen.
func (p *Probe) watch(ctx context.Context, env probe.Environment, pod *running) (seen, error) {
	until := (*life).ended
	if p.params.Observe {
		until = func(l *life) bool { return l.ended() || !l.ready.IsZero() }
	}
	if err := pod.follow(ctx, until); err != nil {
		return seen{}, err
	}
	if !pod.life.gone.IsZero() {
		return seen{}, errors.New("somebody deleted the Pod")
	}
	if err := pod.life.damage(); err != nil {
		return seen{}, err
	}
	if p.report && pod.life.containerID() == "" {
		return seen{}, errors.New("the Pod didn't start")
	}
	got := seen{name: pod.life.pod.Name}
	var err error
	if p.report {
		if got.report, err = p.readReport(ctx, pod); err != nil {
			return seen{}, err
		}
	}
	got.outcome = pod.life.outcome()
	if !p.report && pod.life.containerID() != "" {
		log, err := pod.log(ctx)
		if err != nil {
			return seen{}, err
		}
		got.log = strings.TrimSpace(strings.ToValidUTF8(string(last(log, maxLogText)), ""))
	}
	var s side
	if id := pod.life.containerID(); id != "" {
		place := env.Cluster.Node(pod.life.pod.Spec.NodeName)
		got.place = place.Name()
		s, err = look(ctx, place, id, p.params.Observe)
		var untestable *evidence.Untestable
		switch {
		case errors.As(err, &untestable):
			got.unseen = err
		case err != nil:
			return seen{}, err
		}
	}
	if p.params.Observe && got.unseen == nil {
		if got.side, err = sideValues(s, string(pod.life.pod.UID)); err != nil {
			return seen{}, fmt.Errorf("%s: %w", got.place, err)
		}
		standing := Standing{Pod: pod.life.pod, PID: s.pid, Node: env.Cluster.Node(pod.life.pod.Spec.NodeName)}
		for _, measure := range p.beside {
			set, err := measure(ctx, pod.kube, standing)
			if err != nil {
				return seen{}, fmt.Errorf("beside the Pod: %w", err)
			}
			got.beside = append(got.beside, set...)
		}
	}
	got.times = measure(&pod.life, s.times, clockSkew(s.before, s.clock, s.after))
	return got, nil
}

// maxLogText is the most of a log that is evidence, in bytes.
const maxLogText = 4 << 10

// logTries and logPause: the end of a log may come a moment after the status
// that says that its container has ended.
const (
	logTries = 5
	logPause = 200 * time.Millisecond
)

// readReport takes labprobe's report from the main container's log.
func (p *Probe) readReport(ctx context.Context, pod *running) (evidence.Set, error) {
	if o := pod.life.outcome(); o.exit != nil && o.reason != "Completed" && o.reason != "Error" {
		// OOMKilled, StartError, …: whatever it printed, it isn't whole.
		return nil, errors.New("labprobe didn't end by itself")
	}
	var report labprobe.Report
	read := func(log []byte) (err error) {
		report, err = labprobe.Parse(log)
		return err
	}
	var err error
	for try := 0; try < logTries; try++ {
		var log []byte
		if p.params.Observe {
			log, err = pod.logUntil(ctx, func(line []byte) bool { return read(line) == nil })
		} else {
			log, err = pod.log(ctx)
		}
		if err != nil {
			return nil, err
		}
		if err = read(log); err == nil {
			return report.Result()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(logPause):
		}
	}
	return nil, err
}

// lifeValues gives the outcome as evidence.
func (p *Probe) lifeValues(s seen, class string) evidence.Set {
	object := func(field string) evidence.Source {
		return evidence.Source{Kind: "object", Ref: "Pod " + s.name + " " + field}
	}
	state := "status.containerStatuses[" + mainContainer + "].state"
	set := evidence.Set{
		{Name: "pod.phase", Type: evidence.String, Value: s.outcome.phase, Source: object("status.phase")},
		{Name: "pod.reason", Type: evidence.String, Value: s.outcome.reason, Source: object(state)},
		{Name: "pod.message", Type: evidence.String, Value: s.outcome.message, Source: object(state)},
		{Name: "pod.class", Type: evidence.String, Value: class, Source: object("spec.runtimeClassName")},
	}
	if !p.report {
		set = append(set, evidence.Value{Name: "pod.log", Type: evidence.String, Value: s.log, Source: object("log of " + mainContainer)})
	}
	if s.outcome.exit != nil {
		set = append(set, evidence.Value{Name: "pod.exit_code", Type: evidence.Int, Value: int64(*s.outcome.exit), Source: object(state)})
	}
	return set
}
