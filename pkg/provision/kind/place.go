package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// nodeEnvironment is what scripts of node probes find beside the node's own
// (docs/probes.md): files that a worker doesn't have are named all the same.
var nodeEnvironment = []string{"env", "CONTAINERD_CONFIG=/etc/containerd/config.toml", "KUBECONFIG=/etc/kubernetes/admin.conf"}

// place runs commands on a node, through the engine's exec.
type place struct {
	e    *engine.Engine
	node string
}

// Name implements probe.Place.
func (p place) Name() string { return "node/" + p.node }

// Labprobe is "": nothing puts labprobe on a node but Options.Equip.
func (p place) Labprobe() string { return "" }

// Run implements probe.Place.
func (p place) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	if len(argv) == 0 {
		return probe.Exit{}, errors.New("no command")
	}
	r, err := p.e.Exec(ctx, p.node, stdin, append(slices.Clone(nodeEnvironment), argv...)...)
	if err != nil {
		return probe.Exit{}, fmt.Errorf("%s on %s: %w", argv[0], p.Name(), explain(err))
	}
	return probe.Exit{Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}, nil
}
