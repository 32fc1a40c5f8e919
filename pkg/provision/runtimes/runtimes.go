// Package runtimes puts the three container runtimes of the labs on a node:
// what is installed, how containerd is configured, the RuntimeClasses, and
// the proof that a Pod of each class really runs on what the class says.
package runtimes

// The runtimes. The name is also that of the handler in containerd's
// configuration, and the default name of the RuntimeClass.
const (
	Runc     = "runc"
	GVisor   = "gvisor"
	WasmEdge = "wasmedge"
)

// Names lists the runtimes in the order of reports.
var Names = []string{Runc, GVisor, WasmEdge}

// Packages are the Debian packages (trixie) to install on a node, without
// their recommendations: the runtimes, and the tools with which probes look at
// a node from outside the Pods. runc and containerd belong to the base image.
func Packages() []string {
	return []string{
		// crun loads libwasmedge with dlopen, so nothing pulls it in; and
		// unlike runc it talks to systemd, which makes the cgroups, through
		// the system bus.
		"crun", "dbus", "libwasmedge0", "wasmedge", "runsc",
		"conntrack", "ethtool", "iproute2", "procps", "strace",
	}
}

// Limit is something that Kubernetes promises of every Pod and that a runtime
// doesn't keep.
type Limit struct {
	// Feature is one word: exec, volumes, …
	Feature string
	// Reason says why, in one line.
	Reason string
}

// Limits lists the known limits of a runtime as it is set up here.
func Limits(runtime string) []Limit {
	switch runtime {
	case WasmEdge:
		return []Limit{
			{Feature: "exec", Reason: "the container's process is the WebAssembly engine; there is no second program that exec could start in it"},
			{Feature: "signals", Reason: "WASI has no signals, and process 1 of a container can't be ended by SIGTERM without a handler: a Pod ends by SIGKILL, after its grace period"},
			// libwasmedge_exec in crun 1.21's src/libcrun/handlers/wasmedge.c
			// doesn't ask WasmEdge for the module's exit code.
			{Feature: "exit-code", Reason: "crun ends with 0 whatever code the module ends with (proc_exit), and with 1 when it traps; a Job sees no other failure"},
		}
	default:
		return nil
	}
}
