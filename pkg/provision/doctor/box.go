package doctor

import (
	"context"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// BoxOptions say what a machine is wanted for that is to be a K3s node.
type BoxOptions struct {
	// Machine is the box; the zero value is the one that labctl runs on.
	Machine machine.Machine
	// Service is the name of K3s's service; "" is k3s.
	Service string
}

// CheckBox looks at a machine that is to be a K3s node and returns everything
// that stands in K3s's way, the worst first. Its trials make what they try in
// namespaces that end with them, and one folder that they remove.
func CheckBox(ctx context.Context, o BoxOptions, log progress.Log) ([]Finding, error) {
	step := log.Start("Looking at the machine")
	box, err := CollectBox(ctx, o)
	step.End(err)
	if err != nil {
		return nil, err
	}
	return DiagnoseBox(box), nil
}

// Box is what was seen of a machine that is to be a K3s node.
type Box struct {
	// OS and Arch are GOOS and GOARCH, Kernel is what uname(2) calls release.
	OS, Arch, Kernel string
	Distro           Distro
	Root             bool
	CPUs             int
	// Init is why no init system that K3s's installer knows runs; "" if one does.
	Init string

	// Config are the kernel's options by name without CONFIG_, with the value
	// y, m or another; nil where ConfigFile is "": it can't be read.
	Config     map[string]string
	ConfigFile string
	// Modules says that the running kernel's modules are there to be loaded.
	Modules bool
	// Trials has of each feature that was tried "" or why it failed.
	Trials map[feature]string

	// Cgroup is v1, v2, mixed or "". Controllers are those that work in the
	// hierarchy that a kubelet would use.
	Cgroup      string
	Controllers []string

	// Ports are those of K3s's that somebody has.
	Ports []TakenPort
	// Free and Size are of the file system below /var/lib/rancher, in bytes.
	Free, Size uint64
	// MemTotal, MemAvailable and Swap are in bytes.
	MemTotal, MemAvailable, Swap uint64

	// Now is the machine's clock; Newest is the time of the newest file of the
	// system, which the clock can't be before; NTP is yes, no, or "" where
	// nobody knows.
	Now, Newest time.Time
	NewestFile  string
	NTP         string

	K3s BoxK3s
	// Interfaces and Chains are what K3s or another Kubernetes left behind in
	// the machine's network: interfaces by name, the number of iptables chains.
	Interfaces []string
	Chains     int
	// Labctl says that labctl made the machine a node, or began to; Interrupted
	// is what it hasn't ended, "" is nothing.
	Labctl      bool
	Interrupted string

	// AppArmor says that the kernel has it on, Parser that its parser is there.
	AppArmor, Parser bool
	// SELinux says that it is enforcing.
	SELinux bool
	// Firewalls are firewalld and ufw, where they are on.
	Firewalls []string
	// Others are kubelets and container engines beside, outside of containers.
	Others []Process
	// Packages says that the machine has apt, by which labctl installs.
	Packages bool
}

// TakenPort is a port of K3s's that another program has.
type TakenPort struct {
	Number int
	UDP    bool
	For    string // what K3s wants it for
	By     string // who has it
}

// BoxK3s is what there is of K3s.
type BoxK3s struct {
	// Binary and Uninstall are the paths of the program and of the uninstall
	// script; "" where they aren't.
	Binary, Uninstall string
	// Unit is the path of the service's definition; Active says that it runs.
	Unit   string
	Active bool
	// Data are K3s's files that an earlier installation left.
	Data []string
}

// Process is a program that runs.
type Process struct {
	Name string
	PID  int
}
