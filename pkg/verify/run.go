// Package verify runs the claims of labs: it measures with probes, shares
// what they saw between claims, and decides verdicts.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// API is the API server as a run uses it; pkg/verify/apply implements it.
type API interface {
	// Facts says what cluster it is.
	Facts(ctx context.Context) (result.Cluster, error)
	// Open makes a namespace of labctl's own and applies manifests there.
	// Close removes what Open made and waits until it is gone or ctx ends;
	// it is never nil, also where Open fails halfway.
	Open(ctx context.Context, namespace string, manifests []string) (close func(context.Context) error, err error)
}

// Setup is what a run works with.
type Setup struct {
	// Env is what probes may touch; its Namespace is filled in by the run.
	Env   probe.Environment
	Kinds []probe.Kind
	// API is nil where there is no cluster.
	API API
	// Version of labctl, for the result.
	Version string
	// Timeout of one probe; DefaultTimeout if 0, or what the probe says it may
	// take if that is more.
	Timeout time.Duration
	// Addons are those of the cluster; nil where there is none.
	Addons Addons
	// LeaveOut are add-ons that aren't brought up, to see what depends on them.
	LeaveOut []string
	// Log may be nil.
	Log progress.Log
}

// DefaultTimeout is how long one probe may take. Starting a Pod under a
// sandbox on a loaded machine of two cores is what takes longest.
const DefaultTimeout = 3 * time.Minute

const (
	// sharedNamespace is for labs that apply nothing, so that they can share
	// what probes saw. Labs' own namespaces are called labctl-LAB.
	sharedNamespace = "labctl"
	// closeLimit bounds how long a run waits for its namespaces to go.
	closeLimit = 90 * time.Second
	// interruptedLimit is the same after Ctrl-C, which ends labctl within 5 s:
	// abandonAfter for the probes, then this for each of two namespaces.
	interruptedLimit = time.Second
)

// Schema is what labs are compiled against: the outputs that the kinds declare.
func Schema(kinds []probe.Kind) lab.Schema {
	return func(kind string, with json.RawMessage) ([]evidence.Output, error) {
		p, err := newProbe(kinds, kind, with)
		if err != nil {
			return nil, err
		}
		return p.Outputs(), nil
	}
}

// Applied says which manifests probes of the kinds apply, for lab.Against.
func Applied(kinds []probe.Kind) lab.Applied {
	return func(kind string, with json.RawMessage, manifests fs.FS) ([]string, error) {
		p, err := newProbe(kinds, kind, with)
		if err != nil {
			return nil, nil // Schema has said it
		}
		applying, ok := p.(probe.Applying)
		if !ok {
			return nil, nil
		}
		return applying.Manifests(), applying.Check(manifests)
	}
}

func newProbe(kinds []probe.Kind, kind string, with json.RawMessage) (probe.Probe, error) {
	known := make([]string, len(kinds))
	for i, k := range kinds {
		if k.Name == kind {
			return k.New(with)
		}
		known[i] = k.Name
	}
	return nil, fmt.Errorf("unknown probe kind %q; %s", kind, lab.Suggest(kind, known))
}

// Run verifies the plan. An error means that nothing was run: lab.Problems
// where a spec is wrong, a plan that takes nothing in, a cluster that doesn't
// answer. Everything that happens later is in the result, which is complete
// as far as the run came when ctx ends.
func Run(ctx context.Context, plan Plan, setup Setup) (result.Result, error) {
	if err := plan.Check(); err != nil {
		return result.Result{}, err
	}
	r := &run{Setup: setup, seen: map[string]outcome{}, spaces: map[string]*space{}}
	if r.Log == nil {
		r.Log = progress.Discard
	}
	compiled := make([][]lab.Compiled, len(plan.Labs))
	problems := lab.Unique(plan.Labs)
	for i, l := range plan.Labs {
		claims, p := l.Compile(Schema(setup.Kinds))
		problems = append(problems, p...)
		for _, c := range claims {
			if plan.Takes(c.Claim) {
				compiled[i] = append(compiled[i], c)
			}
		}
	}
	if err := problems.Err(); err != nil {
		return result.Result{}, err
	}
	out := result.Result{
		APIVersion: lab.APIVersion, Kind: result.Kind, Labctl: setup.Version,
		Started: time.Now().UTC(), Strict: plan.Strict, Host: hostFacts(), Labs: []result.Lab{},
	}
	if r.API != nil {
		cluster, err := r.clusterFacts(ctx)
		if err != nil {
			return result.Result{}, err
		}
		out.Cluster = &cluster
	}
	for i, l := range plan.Labs {
		if len(compiled[i]) > 0 {
			out.Labs = append(out.Labs, r.lab(ctx, l, compiled[i], plan.Strict))
		}
	}
	r.settle(ctx)
	errs := []error{r.releaseAddons(ctx)}
	if s, ok := r.spaces[sharedNamespace]; ok {
		errs = append(errs, r.close(ctx, s))
	}
	if err := errors.Join(errs...); err != nil {
		out.Labs[0].Error = joinText(out.Labs[0].Error, err.Error())
	}
	out.Interrupted = ctx.Err() != nil
	out.Finished = time.Now().UTC()
	return out, nil
}

func (r *run) clusterFacts(ctx context.Context) (result.Cluster, error) {
	cluster, err := r.API.Facts(ctx)
	if err != nil {
		return cluster, fmt.Errorf("the cluster can't be used: %w", err)
	}
	if r.Env.Cluster == nil {
		return cluster, nil
	}
	cluster.RuntimeClasses = map[string]string{}
	for _, runtime := range lab.Runtimes {
		if name, ok := r.Env.Cluster.RuntimeClass(runtime); ok {
			cluster.RuntimeClasses[runtime] = name
		}
	}
	return cluster, nil
}

// run is the state of one run.
type run struct {
	Setup
	seen   map[string]outcome
	spaces map[string]*space
	// images are those of the add-ons that this run has up, by short names.
	images map[string]string
	// pending are what probes deleted and nobody has waited for yet.
	pending settling
}

// space is a namespace that the run opened.
type space struct {
	name  string
	close func(context.Context) error
	err   error
}

// lab runs one lab: set up, measure, decide, clean up.
func (r *run) lab(ctx context.Context, l *lab.Lab, claims []lab.Compiled, strict bool) result.Lab {
	began := time.Now()
	step := r.Log.Start("lab " + l.Metadata.Name)
	out := result.Lab{Name: l.Metadata.Name, Title: l.Spec.Title, Document: l.Spec.Document, Layer: l.Spec.Layer}
	s, err := r.open(ctx, l, claims)
	if err != nil && ctx.Err() == nil {
		out.Error = err.Error()
	}
	if err == nil {
		r.inSurroundings(ctx, s.name, claims, step)
	}
	for _, c := range claims {
		decided := r.decide(ctx, l, c, s.name, err)
		decided.OK = ok(decided, strict)
		out.Claims = append(out.Claims, decided)
	}
	if s.name != sharedNamespace {
		if err := r.close(ctx, s); err != nil {
			out.Error = joinText(out.Error, err.Error())
		}
	}
	out.Seconds = time.Since(began).Seconds()
	var failed error
	if out.Error != "" {
		failed = errors.New(out.Error)
	}
	step.End(failed)
	return out
}

// open gives the lab a namespace, if it needs a cluster and there is one.
func (r *run) open(ctx context.Context, l *lab.Lab, claims []lab.Compiled) (*space, error) {
	probes, namespaced := 0, len(l.Spec.Manifests) > 0
	for _, c := range claims {
		probes += len(c.Probes)
		for _, p := range c.Probes {
			namespaced = namespaced || slices.ContainsFunc(r.Kinds, func(k probe.Kind) bool { return k.Name == p.Kind && k.Namespaced })
		}
	}
	clusterless := l.Spec.Needs.Nodes != nil && *l.Spec.Needs.Nodes == 0
	if r.API == nil || clusterless || probes == 0 || !namespaced {
		return &space{}, nil
	}
	name := sharedNamespace
	if len(l.Spec.Manifests) > 0 {
		name = "labctl-" + l.Metadata.Name
	}
	if s, ok := r.spaces[name]; ok {
		return s, s.err
	}
	s := &space{name: name}
	s.close, s.err = r.API.Open(ctx, name, l.Spec.Manifests)
	r.spaces[name] = s
	return s, s.err
}

// close removes what open made, also after ctx has ended.
func (r *run) close(ctx context.Context, s *space) error {
	if s.close == nil {
		return nil
	}
	limit := closeLimit
	if ctx.Err() != nil {
		limit = interruptedLimit
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := s.close(ctx); err != nil {
		return fmt.Errorf("cleaning up namespace %s: %w", s.name, err)
	}
	return nil
}

func joinText(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
