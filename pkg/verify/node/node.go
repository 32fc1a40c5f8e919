// Package node is the probe family that runs on a node of the lab cluster, as
// root: labprobe's commands, any other command, or a script that prints the
// evidence it declares.
package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is the family.
var Kind = probe.Kind{
	Name: "node",
	Doc:  "labprobe, a command or a script on a node of the cluster, as root",
	New:  func(params []byte) (probe.Probe, error) { return New(params) },
}

// Params are the parameters; exactly one of Labprobe, Command and Script.
type Params struct {
	// Labprobe is a labprobe command and its arguments; its outputs are the
	// probe's outputs.
	Labprobe []string `json:"labprobe,omitempty"`
	// Command is any command. Its exit code, output and duration are the
	// evidence, whatever they are: a command that isn't there gives 127.
	Command []string `json:"command,omitempty"`
	// Script is run by sh -eu in a folder of its own, $WORK, which is removed
	// afterwards. It gives evidence by the function evidence NAME VALUE (or
	// NAME alone: the value is stdin) and may end by the function untestable
	// REASON. $LABPROBE and $LABPROBE_WASM are the paths of labprobe as a
	// Linux binary and as a WebAssembly module, $LABPROBE_IMAGE and
	// $LABPROBE_WASM_IMAGE the names of its images in containerd;
	// $CONTAINERD_CONFIG is the file that the node's containerd was started
	// with, $KUBECONFIG the node's own administrator's, where it has one. An
	// exit code that isn't 0 is a broken probe.
	Script string `json:"script,omitempty"`
	// Outputs declares the evidence of Script, all of which it must give.
	Outputs []Output `json:"outputs,omitempty"`
	// Node is control-plane (the default), worker, or a node's name.
	Node string `json:"node,omitempty"`
	// Timeout is the longest that it may take, 1m if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Exclusive says that nothing else may be measured meanwhile.
	Exclusive bool `json:"exclusive,omitempty"`
}

// Output declares one value that a script gives.
type Output struct {
	Name string        `json:"name"`
	Type evidence.Type `json:"type"`
	Unit string        `json:"unit,omitempty"`
	Doc  string        `json:"doc,omitempty"`
}

const defaultTimeout = time.Minute

// maxText is the most of a command's output that is kept as evidence. More
// is an error: a cut output could decide a claim the wrong way.
const maxText = 256 << 10

// New decodes parameters into a probe.
func New(params []byte) (*Probe, error) {
	var p Params
	if err := probe.Decode(params, &p); err != nil {
		return nil, err
	}
	ways := 0
	for _, set := range []bool{p.Labprobe != nil, p.Command != nil, p.Script != ""} {
		if set {
			ways++
		}
	}
	if ways != 1 {
		return nil, errors.New("a node probe has exactly one of labprobe, command and script")
	}
	if p.Script == "" && p.Outputs != nil {
		return nil, errors.New("outputs: only a script declares its own")
	}
	if p.Timeout != nil && p.Timeout.Duration < time.Second {
		return nil, fmt.Errorf("timeout: %s is less than 1s", p.Timeout.Duration)
	}
	n := &Probe{params: p, timeout: defaultTimeout, exclusive: p.Exclusive}
	if p.Timeout != nil {
		n.timeout = p.Timeout.Duration
	}
	var err error
	switch {
	case p.Labprobe != nil:
		var c labprobe.Command
		if c, n.outputs, err = lookup(p.Labprobe); err != nil {
			return nil, fmt.Errorf("labprobe: %w", err)
		}
		n.exclusive = n.exclusive || c.Exclusive
	case p.Command != nil:
		if len(p.Command) == 0 || p.Command[0] == "" {
			return nil, errors.New("command: is empty")
		}
		n.outputs = commandOutputs
	default:
		if n.outputs, err = Declare(p.Outputs); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// lookup finds a labprobe command line's command and outputs.
func lookup(args []string) (labprobe.Command, []evidence.Output, error) {
	if len(args) == 0 {
		return labprobe.Command{}, nil, errors.New("is empty; it names a command and its arguments")
	}
	c, err := labprobe.Lookup(args[0])
	if err != nil {
		return labprobe.Command{}, nil, err
	}
	outputs, err := c.Outputs(args[1:])
	if err != nil {
		return labprobe.Command{}, nil, fmt.Errorf("%s: %w", args[0], err)
	}
	return c, outputs, nil
}

// Probe is a probe of the family.
type Probe struct {
	params    Params
	timeout   time.Duration
	exclusive bool
	outputs   []evidence.Output
}

var _ probe.Exclusive = (*Probe)(nil)

// Outputs implements probe.Probe.
func (n *Probe) Outputs() []evidence.Output { return n.outputs }

// Exclusive implements probe.Exclusive.
func (n *Probe) Exclusive() bool { return n.exclusive }

// Run implements probe.Probe.
func (n *Probe) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	place, err := Pick(ctx, env, n.params.Node)
	if err != nil {
		return nil, err
	}
	if n.params.Script != "" {
		return Script{
			Text: n.params.Script,
			Env: []string{
				"LABPROBE_IMAGE=" + env.Cluster.ProbeImage("runc"),
				"LABPROBE_WASM_IMAGE=" + env.Cluster.ProbeImage("wasmedge"),
			},
			Outputs: n.outputs, Timeout: n.timeout,
		}.Run(ctx, place)
	}
	var set evidence.Set
	if n.params.Labprobe != nil {
		set, err = n.runLabprobe(ctx, place)
	} else {
		set, err = n.runCommand(ctx, place)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	return set.At(place.Name()), nil
}

func (n *Probe) runLabprobe(ctx context.Context, place probe.Place) (evidence.Set, error) {
	argv := append([]string{place.Labprobe()}, n.params.Labprobe...)
	r, err := runLimited(ctx, place, n.timeout, "labprobe "+line(n.params.Labprobe), argv)
	if err != nil {
		return nil, err
	}
	report, err := labprobe.Parse(r.Stdout)
	if err != nil {
		return nil, fmt.Errorf("exit code %d: %w%s", r.Code, err, said(r.Stderr))
	}
	return report.Result()
}

var commandOutputs = []evidence.Output{
	{Name: "exit", Type: evidence.Int, Doc: "the command's exit code; 127 where it isn't there, 128 and the signal where one ended it"},
	{Name: "stdout", Type: evidence.String, Doc: "its standard output without trailing newlines"},
	{Name: "stderr", Type: evidence.String, Doc: "its standard error without trailing newlines"},
	{Name: "duration", Type: evidence.Duration, Doc: "how long it took as seen from labctl, the way into the node included"},
}

func (n *Probe) runCommand(ctx context.Context, place probe.Place) (evidence.Set, error) {
	r, err := runLimited(ctx, place, n.timeout, line(n.params.Command), n.params.Command)
	if err != nil {
		return nil, err
	}
	for name, b := range map[string][]byte{"stdout": r.Stdout, "stderr": r.Stderr} {
		if len(b) > maxText {
			return nil, fmt.Errorf("%s of %s is longer than %d bytes; use a script that selects from it", name, line(n.params.Command), maxText)
		}
	}
	source := evidence.Source{Kind: "command", Ref: line(n.params.Command), Exit: &r.Code}
	clock := evidence.Source{Kind: "clock", Ref: "monotonic, around " + line(n.params.Command) + " and the exec into the node"}
	return evidence.Set{
		{Name: "exit", Type: evidence.Int, Value: int64(r.Code), Source: source},
		{Name: "stdout", Type: evidence.String, Value: text(r.Stdout), Source: source},
		{Name: "stderr", Type: evidence.String, Value: text(r.Stderr), Source: source},
		{Name: "duration", Type: evidence.Duration, Value: r.took, Source: clock},
	}, nil
}
