package k3s

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// place is the node that is this machine.
type place struct {
	m    machine.Machine
	node string
}

// Name implements probe.Place.
func (p place) Name() string { return "node/" + p.node }

// Labprobe is "": nothing puts labprobe on a node but Options.Equip.
func (p place) Labprobe() string { return "" }

// Run implements probe.Place. The command goes through env(1), which looks for
// it on the machine's own PATH and then among the programs that K3s brings,
// and gives 127 where it isn't there.
func (p place) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	if len(argv) == 0 {
		return probe.Exit{}, errors.New("no command")
	}
	env := []string{
		"env",
		"PATH=" + os.Getenv("PATH") + ":" + servicePath + ":" + programs,
		"CONTAINERD_ADDRESS=" + socket, "CONTAINERD_NAMESPACE=k8s.io", // ctr(8)
		"CONTAINERD_CONFIG=" + rendered, "KUBECONFIG=" + adminConfig, // as the scripts of node probes have them (docs/probes.md)
		"CONTAINER_RUNTIME_ENDPOINT=unix://" + socket, "IMAGE_SERVICE_ENDPOINT=unix://" + socket, // crictl
	}
	return p.m.Run(ctx, machine.Command{Argv: append(env, argv...), Stdin: stdin})
}

// elsewhere is a node that is another machine.
type elsewhere struct{ node, here string }

func (e elsewhere) Name() string     { return "node/" + e.node }
func (e elsewhere) Labprobe() string { return "labprobe" }

// Run implements probe.Place: there is no way to run anything there.
func (e elsewhere) Run(context.Context, io.Reader, ...string) (probe.Exit, error) {
	return probe.Exit{}, evidence.Untestablef("node %s is another machine than the one that labctl runs on (node %s), which is the only one that it prepared", e.node, e.here)
}
