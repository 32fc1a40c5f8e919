package engine

import (
	"fmt"
	"strings"
)

// Attempt is one engine that fell.
type Attempt struct {
	Engine string
	// Err says why; it is ErrNotInstalled where there is no such program.
	Err error
}

// Refusal is the error of Choose when no engine passed the trial.
type Refusal struct {
	// Only is the engine that was asked for by name, or "".
	Only     string
	Attempts []Attempt
}

func (r *Refusal) Error() string {
	var b strings.Builder
	b.WriteString("no container engine here starts a privileged container, which a lab node is:")
	for _, a := range r.Attempts {
		fmt.Fprintf(&b, "\n  %s: %s", a.Engine, strings.ReplaceAll(a.Err.Error(), "\n", "\n  "))
		if what := Advice(a.Err); what != "" {
			fmt.Fprintf(&b, "\n    %s", what)
		}
	}
	b.WriteString("\n`labctl doctor` lists what is missing, `labctl doctor --fix` installs it")
	if r.Only != "" {
		b.WriteString("; without --engine the other engines are tried too")
	}
	return b.String()
}

// Unwrap gives the errors of the engines that were tried.
func (r *Refusal) Unwrap() []error {
	errs := make([]error, len(r.Attempts))
	for i, a := range r.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// symptoms are what engines say when something known is wrong, all parts of
// which must appear, and what to do about it. The first match counts.
var symptoms = []struct {
	says   []string
	advice string
}{
	{[]string{"no space left on device"}, "free some space on the disk that holds the engine's storage"},
	{[]string{"permission denied", "docker.sock"}, "run labctl as root, or add yourself to the group docker and log in again"},
	{[]string{"cannot connect to the docker daemon"}, "start the daemon (systemctl start docker, or Docker Desktop)"},
	{[]string{"is the docker daemon running"}, "start the daemon (systemctl start docker, or Docker Desktop)"},
	{[]string{"podman machine"}, "start Podman's machine: podman machine init && podman machine start"},
	{[]string{"podman socket"}, "start Podman's machine: podman machine init && podman machine start"},
	{[]string{"containerd.sock"}, "start containerd, or run labctl as root"},
	{[]string{"netavark", "no such file or directory"}, "install iptables (or nftables for netavark 1.10 and later): netavark runs it"},
	{[]string{"could not find \"netavark\""}, "install netavark and aardvark-dns"},
	{[]string{"iptables"}, "see that iptables is installed and that this kernel and this user may use it"},
	{[]string{"error setting rlimit"}, "this host grants less than the engine's default limits; set default_ulimits in containers.conf to the hard limits that `ulimit -Ha` shows"},
	{[]string{"drop all controllers from cgroupv2"}, "install runc: crun doesn't run on cgroup v1 with controllers on a cgroup2 mount"},
	{[]string{"operation not permitted"}, "run labctl as root; inside a container or a CI runner, it has to be a privileged one"},
	{[]string{"newuidmap"}, "run labctl as root, or install uidmap and give your user ranges in /etc/subuid and /etc/subgid"},
	{[]string{"cgroup"}, "see `labctl doctor` for the cgroup layout; a rootless engine needs cgroup v2 with Delegate=yes"},
}

// Advice says what to do about an engine's error, "" if it isn't a known one.
func Advice(err error) string {
	said := strings.ToLower(err.Error())
next:
	for _, s := range symptoms {
		for _, part := range s.says {
			if !strings.Contains(said, part) {
				continue next
			}
		}
		return s.advice
	}
	return ""
}

// Brief is the refusal in one line per engine, without remedies.
func (r *Refusal) Brief() string {
	lines := []string{"no container engine here starts a privileged container"}
	for _, a := range r.Attempts {
		lines = append(lines, a.Engine+": "+a.Err.Error())
	}
	return strings.Join(lines, "\n")
}
