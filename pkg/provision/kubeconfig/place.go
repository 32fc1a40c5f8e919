package kubeconfig

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// place is a node that is the machine that labctl runs on.
type place struct {
	machine    machine.Machine
	node       string
	containerd containerd
}

// Name implements probe.Place.
func (p place) Name() string { return "node/" + p.node }

// Labprobe is "": Options.Equip puts it there.
func (p place) Labprobe() string { return "" }

// Run implements probe.Place. The command goes through env(1), which looks for
// it on the PATH that has the node's containerd, and gives 127 where it isn't.
func (p place) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	if len(argv) == 0 {
		return probe.Exit{}, errors.New("no command")
	}
	env := []string{"env",
		"PATH=" + os.Getenv("PATH") + ":/usr/local/sbin:/usr/sbin:/sbin:" + filepath.Dir(p.containerd.program),
		"CONTAINERD_ADDRESS=" + p.containerd.address,                                  // ctr(8)
		"CONTAINERD_CONFIG=" + p.containerd.config, "KUBECONFIG=" + p.administrator(), // as the scripts of node probes have them (docs/probes.md)
	}
	return p.machine.Run(ctx, machine.Command{Argv: append(env, argv...), Stdin: stdin})
}

// administrators are where kubeadm and K3s leave an administrator's kubeconfig
// on a control plane (kubeadm-init, https://docs.k3s.io/cluster-access).
var administrators = []string{"/etc/kubernetes/admin.conf", "/etc/rancher/k3s/k3s.yaml"}

// administrator is the node's own kubeconfig, whatever the user's says; where
// there is none, the path of one that isn't there.
func (p place) administrator() string {
	for _, path := range administrators {
		if _, err := os.Stat(p.machine.Path(path)); err == nil {
			return path
		}
	}
	return administrators[0]
}

// elsewhere is a node that is another machine.
type elsewhere struct{ node, why string }

func (e elsewhere) Name() string     { return "node/" + e.node }
func (e elsewhere) Labprobe() string { return "labprobe" }

// Run implements probe.Place: there is no way to run anything there.
func (e elsewhere) Run(context.Context, io.Reader, ...string) (probe.Exit, error) {
	return probe.Exit{}, evidence.Untestablef("node %s can't be looked into from here: %s", e.node, e.why)
}
