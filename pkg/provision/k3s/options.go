// Package k3s makes the machine that labctl runs on a K3s node with the
// runtime classes of the labs, or adds them to a K3s that is there, and takes
// away again what it put there. docs/k3s.md tells how.
package k3s

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Options say where the parts come from. The zero value of each is the default.
type Options struct {
	// Machine is the box; the zero value is the machine that labctl runs on.
	Machine machine.Machine
	// StateDir is the user's folder for labctl's state, in which the installer
	// is stored. What labctl did to the machine is on the machine itself.
	StateDir string
	// Installer is K3s's install script: a file or an http(s) address; "" is
	// the project's public address. InstallerSHA256 (hex) is what it must
	// have; a file needs none, an address does.
	Installer, InstallerSHA256 string
	// Binary is a K3s binary, which is then not downloaded; BinarySHA256 (hex)
	// is checked if it is given.
	Binary, BinarySHA256 string
	// Version or Channel is the release that the installer downloads.
	Version, Channel string
	// Service names the service (the installer's INSTALL_K3S_NAME); "" is k3s.
	Service string
	// Airgap is a folder that `labctl bundle k3s` made: everything comes from
	// there and no network is used.
	Airgap string
	// RuntimeFiles is a folder with programs (crun, runsc,
	// containerd-shim-runsc-v1, …) and a file SHA256SUMS over them, in place
	// of packages.
	RuntimeFiles string
	// Shim returns a folder with gVisor's containerd shim (runtimes.Shim),
	// where neither Airgap nor RuntimeFiles has it.
	Shim func(ctx context.Context, log progress.Log) (dir string, err error)
	// ProbeImages maps a runtime to the image of labprobe that probes use.
	ProbeImages map[string]string
	// Equip puts labprobe on the node before its first use; may be nil.
	Equip func(probe.Place) probe.Place
}
