package k3s

import (
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// K3s's files (https://docs.k3s.io/advanced, /cli/server, /installation/airgap).
const (
	dataDir       = "/var/lib/rancher/k3s"
	containerdDir = dataDir + "/agent/etc/containerd"
	rendered      = containerdDir + "/config.toml" // written by K3s at each start
	templateV3    = containerdDir + "/config-v3.toml.tmpl"
	templateV2    = containerdDir + "/config.toml.tmpl"
	dropIns       = containerdDir + "/config-v3.toml.d"
	imagesDir     = dataDir + "/agent/images"
	programs      = dataDir + "/data/current/bin" // what K3s brings: containerd, ctr, runc, …
	containerdLog = dataDir + "/agent/containerd/containerd.log"
	socket        = "/run/k3s/containerd/containerd.sock"
	configDir     = "/etc/rancher/k3s"
	adminConfig   = configDir + "/k3s.yaml"
)

// labctl's files beside K3s's.
const (
	dropIn   = dropIns + "/50-labctl.toml"
	settings = configDir + "/config.yaml.d/50-labctl.yaml"
)

// apiPort is the API server's (https://docs.k3s.io/installation/requirements).
const apiPort = 6443

// The system bus (dbus-daemon(1)), and the unit that makes its socket.
const (
	busSocket = "/run/dbus/system_bus_socket"
	busUnit   = "dbus.socket"
)

// servicePath is the PATH of a service of systemd (systemd.exec(5)), on which
// K3s looks for runtimes, and containerd for shims; operatorPath is where K3s
// looks besides.
const (
	servicePath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	operatorPath = "/usr/local/nvidia/toolkit:/opt/kwasm/bin"
)

// Programs of the runtimes.
const (
	runwasiShim = "containerd-shim-wasmedge-v1"
	runscShim   = "containerd-shim-runsc-v1"
)

// layout is where the runtimes are on a box. crun and systemdCgroup are what
// the box has.
func layout(crun string, systemdCgroup bool) runtimes.Layout {
	return runtimes.Layout{
		Bin:           "/usr/local/bin",
		State:         ledger.Dir,
		RunscConfig:   ledger.Dir + "/runsc.toml",
		Crun:          crun,
		SystemdCgroup: systemdCgroup,
	}
}
