package pod

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Standing is a Pod that stays after its report (Params.Observe).
type Standing struct {
	Pod *corev1.Pod
	// PID is the main container's process on the node.
	PID int
	// Node is where the Pod runs.
	Node probe.Place
}

// Beside is a measurement that is made while a Pod stands.
type Beside func(ctx context.Context, kube kubernetes.Interface, s Standing) (evidence.Set, error)

// AddBeside adds a measurement, which is made after the Pod's report, and
// what it gives. The Pod must stay (Params.Observe).
func (p *Probe) AddBeside(b Beside, outputs ...evidence.Output) error {
	if !p.params.Observe {
		return errors.New("observe: what is measured beside a Pod wants it to stay")
	}
	p.beside = append(p.beside, b)
	p.outputs = append(p.outputs, outputs...)
	return nil
}

// addBesideCommand adds a labprobe command on the Pod's node.
func (p *Probe) addBesideCommand(args []string) error {
	with := func(pid int) []string {
		out := make([]string, len(args))
		for i, a := range args {
			out[i] = strings.ReplaceAll(a, "{pid}", strconv.Itoa(pid))
		}
		return out
	}
	command, declared, err := lookup(with(1))
	if err != nil {
		return err
	}
	p.exclusive = p.exclusive || command.Exclusive
	outputs := make([]evidence.Output, len(declared))
	for i, o := range declared {
		o.Name = "beside." + o.Name
		outputs[i] = o
	}
	return p.AddBeside(func(ctx context.Context, _ kubernetes.Interface, s Standing) (evidence.Set, error) {
		set, err := Labprobe(ctx, s.Node, with(s.PID)...)
		return set.Under("beside"), err
	}, outputs...)
}

// Labprobe runs labprobe in a place and returns its evidence.
func Labprobe(ctx context.Context, place probe.Place, args ...string) (evidence.Set, error) {
	argv := append([]string{place.Labprobe()}, args...)
	exit, err := place.Run(ctx, nil, argv...)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: %w", strings.Join(argv, " "), place.Name(), err)
	}
	report, err := labprobe.Parse(exit.Stdout)
	if err != nil {
		return nil, fmt.Errorf("%s on %s: exit code %d: %w; it says %.300q", strings.Join(argv, " "), place.Name(), exit.Code, err, exit.Stderr)
	}
	set, err := report.Result()
	if err != nil {
		return nil, fmt.Errorf("on %s: %w", place.Name(), err)
	}
	return set.At(place.Name()), nil
}
