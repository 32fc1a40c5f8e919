// Package measure takes the samples of a comparison: Pods of each runtime in
// shuffled rounds on one node, and the node's own side.
package measure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// Plan says what to compare.
type Plan struct {
	Subjects []compare.Subject
	// Baseline is the name of the subject that the others are compared with.
	Baseline string
	Rounds   int
	Seed     uint64
	// Node is control-plane (also if empty), worker or a node's name.
	Node string
}

// API is the API server as a comparison uses it; pkg/verify/apply implements it.
type API interface {
	// Facts says what cluster it is.
	Facts(ctx context.Context) (result.Cluster, error)
	// Open makes a namespace of labctl's own. Close removes it and waits
	// until it is gone or ctx ends; it is never nil.
	Open(ctx context.Context, namespace string, manifests []string) (close func(context.Context) error, err error)
}

// Setup is what a comparison works with.
type Setup struct {
	Cluster probe.Cluster
	API     API
	// Version of labctl, for the result.
	Version string
	Log     progress.Log
}

const (
	namespace = "labctl-compare"
	// closeLimit bounds how long it is waited for the namespace to go. Its
	// Pods are gone by then, or being deleted; the cluster does the rest by
	// itself. After Ctrl-C labctl has 5 s in all.
	closeLimit = time.Second
)

// Run compares. A Pod that fails is in the result, as its runtime's error;
// when ctx ends the result holds the rounds that were complete. With an error
// there is no result (no Runtimes), unless it is that of cleaning up.
func Run(ctx context.Context, plan Plan, setup Setup) (out compare.Result, err error) {
	env := probe.Environment{Cluster: setup.Cluster, Namespace: namespace}
	place, err := node.Pick(ctx, env, plan.Node)
	if err != nil {
		return out, err
	}
	cluster, err := setup.API.Facts(ctx)
	if err != nil {
		return out, fmt.Errorf("the cluster can't be used: %w", err)
	}
	cluster.RuntimeClasses = map[string]string{}
	for _, s := range plan.Subjects {
		if s.Class != "" {
			cluster.RuntimeClasses[s.Name] = s.Class
		}
	}
	out = compare.Result{
		APIVersion: lab.APIVersion, Kind: compare.Kind, Labctl: setup.Version,
		Started: time.Now().UTC(), Cluster: cluster, Metrics: compare.Metrics(),
		Method: compare.Method{
			Rounds: plan.Rounds, WarmUps: 1, VisitsPerRound: compare.VisitsPerRound, Seed: plan.Seed,
			Baseline: plan.Baseline, Confidence: compare.Confidence, Alpha: compare.Alpha,
		},
	}
	closeNamespace, err := setup.API.Open(ctx, namespace, nil)
	defer func() { err = errors.Join(err, finish(ctx, closeNamespace)) }()
	if err != nil {
		return out, err
	}
	watch, err := lookAt(ctx, place)
	if err != nil {
		return out, err
	}
	r := newRounds(plan, &clusterPods{env: env, node: watch.node.Name}, watch, setup.Log)
	if err := r.run(ctx); err != nil {
		return out, err
	}
	out.Node, err = watch.end(ctx)
	out.Interrupted = ctx.Err() != nil
	if err = interruptedOr(ctx, err); err != nil {
		return out, err
	}
	out.Method.Order = r.order
	out.Runtimes = compare.Evaluate(r.samples, plan.Baseline)
	out.Finished = time.Now().UTC()
	return out, nil
}

// finish removes the namespace, also after ctx has ended.
func finish(ctx context.Context, closeNamespace func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	if err := closeNamespace(ctx); err != nil {
		return fmt.Errorf("cleaning up namespace %s: %w", namespace, err)
	}
	return nil
}
