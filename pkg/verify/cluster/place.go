package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/node"
)

type nodeVerb struct {
	step    *Step
	declare []evidence.Output
	timeout time.Duration
}

func newNode(s *Step) (verb, error) {
	if s.Node.Script == "" {
		return nil, errors.New("node: script is missing")
	}
	declare, err := node.Declare(s.Node.Outputs)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	v := &nodeVerb{step: s, declare: declare}
	if v.timeout, err = limit("node: timeout", s.Node.Timeout, stepTimeout, time.Hour); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *nodeVerb) outputs() []evidence.Output { return v.declare }

func (v *nodeVerb) prepare(n Names) (action, error) {
	script, which := v.step.Node.Script, v.step.Node.Node
	if err := n.texts(&script, &which); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		place, err := node.Pick(ctx, w.env, which)
		if err != nil {
			return nil, err
		}
		env := []string{
			"NAMESPACE=" + w.namespace,
			"LABPROBE_IMAGE=" + w.env.Cluster.ProbeImage("runc"),
			"LABPROBE_WASM_IMAGE=" + w.env.Cluster.ProbeImage("wasmedge"),
		}
		for _, o := range w.params.Others {
			env = append(env, "NAMESPACE_"+strings.ToUpper(strings.ReplaceAll(o, "-", "_"))+"="+w.in(o))
		}
		return node.Script{Text: script, Env: env, Outputs: v.declare, Timeout: v.timeout}.Run(ctx, place)
	}, nil
}

type pauseVerb struct{ length time.Duration }

func newPause(s *Step, whole time.Duration) (verb, error) {
	if s.As != "" {
		return nil, errors.New("a pause has no evidence, so no name")
	}
	length, err := limit("pause", s.Pause, 0, whole)
	return &pauseVerb{length}, err
}

func (v *pauseVerb) outputs() []evidence.Output { return nil }

func (v *pauseVerb) prepare(Names) (action, error) {
	return func(ctx context.Context, _ *world) (evidence.Set, error) { return nil, sleep(ctx, v.length) }, nil
}
