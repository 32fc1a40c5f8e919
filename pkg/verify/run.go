// Package verify runs the claims of labs: it measures with probes, shares
// what they saw between claims, and decides verdicts.
package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"sync"
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
	// what probes saw.
	sharedNamespace = "labctl"
	// ownNamespace stands before the lab's name in the namespace of its own.
	ownNamespace = "labctl-"
	// closeLimit bounds how long a run waits for its namespaces to go.
	closeLimit = 90 * time.Second
	// interruptedLimit is the same after Ctrl-C, which ends labctl within 5 s:
	// abandonAfter for the probes, then this for the namespaces.
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
	out.Labs = r.labs(ctx, plan, compiled)
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

// labs sets the labs up, measures, decides and cleans up.
func (r *run) labs(ctx context.Context, plan Plan, compiled [][]lab.Compiled) []result.Lab {
	spaces := make([]*space, len(plan.Labs))
	var tasks []task
	for i, l := range plan.Labs {
		if len(compiled[i]) == 0 {
			continue
		}
		if spaces[i] = r.open(ctx, l, compiled[i]); spaces[i].err != nil {
			continue
		}
		for _, c := range compiled[i] {
			tasks = append(tasks, task{spaces[i].name, c})
		}
	}
	for _, p := range phases(tasks, func(name string) bool { return r.Addons != nil && r.Addons.Quiet(name) }) {
		step := r.Log.Start(p.title())
		r.settle(ctx)
		r.measure(ctx, p, step)
		step.End(nil)
	}
	var out []result.Lab
	for i, l := range plan.Labs {
		if len(compiled[i]) > 0 {
			out = append(out, r.decided(ctx, l, compiled[i], spaces[i], plan.Strict))
		}
	}
	r.settle(ctx)
	if err := r.releaseAddons(ctx); err != nil {
		out[0].Error = joinText(out[0].Error, err.Error())
	}
	for name, err := range r.closeAll(ctx) {
		// Of a namespace that labs share the first one tells.
		i := slices.IndexFunc(out, func(l result.Lab) bool { return name == ownNamespace+l.Name })
		i = max(i, 0)
		out[i].Error = joinText(out[i].Error, err.Error())
	}
	return out
}

// decided is a lab with its claims decided.
func (r *run) decided(ctx context.Context, l *lab.Lab, claims []lab.Compiled, s *space, strict bool) result.Lab {
	out := result.Lab{Name: l.Metadata.Name, Title: l.Spec.Title, Document: l.Spec.Document, Layer: l.Spec.Layer}
	if s.err != nil && ctx.Err() == nil {
		out.Error = s.err.Error()
	}
	counted := map[string]bool{}
	for _, c := range claims {
		claim := r.decide(ctx, l, c, s.name, s.err)
		claim.OK = ok(claim, strict)
		out.Claims = append(out.Claims, claim)
		for _, p := range c.Probes {
			k := key(s.name, c, p)
			if !counted[k] {
				out.Seconds += r.seen[k].seconds
			}
			counted[k] = true
		}
	}
	return out
}

// open gives the lab a namespace, if it needs a cluster and there is one.
func (r *run) open(ctx context.Context, l *lab.Lab, claims []lab.Compiled) *space {
	probes, namespaced := 0, len(l.Spec.Manifests) > 0
	for _, c := range claims {
		probes += len(c.Probes)
		for _, p := range c.Probes {
			namespaced = namespaced || slices.ContainsFunc(r.Kinds, func(k probe.Kind) bool { return k.Name == p.Kind && k.Namespaced })
		}
	}
	clusterless := l.Spec.Needs.Nodes != nil && *l.Spec.Needs.Nodes == 0
	if r.API == nil || clusterless || probes == 0 || !namespaced {
		return &space{}
	}
	name := sharedNamespace
	if len(l.Spec.Manifests) > 0 {
		name = ownNamespace + l.Metadata.Name
	}
	if s, ok := r.spaces[name]; ok {
		return s
	}
	s := &space{name: name}
	s.close, s.err = r.API.Open(ctx, name, l.Spec.Manifests)
	r.spaces[name] = s
	return s
}

// closeAll closes every namespace that the run opened, side by side, and
// gives the errors by their names.
func (r *run) closeAll(ctx context.Context) map[string]error {
	var mu sync.Mutex
	errs := map[string]error{}
	var group sync.WaitGroup
	for name, s := range r.spaces {
		group.Go(func() {
			if err := r.close(ctx, s); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs[name] = err
			}
		})
	}
	group.Wait()
	return errs
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
