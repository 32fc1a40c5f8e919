package doctor

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// K3s's files (https://docs.k3s.io/advanced and /installation/uninstall).
const (
	k3sData   = "/var/lib/rancher/k3s"
	k3sConfig = "/etc/rancher/k3s/k3s.yaml"
)

// flannelPort is that of Flannel's VXLAN, which isn't the one of IANA.
const flannelPort = 8472

// ports are those that K3s listens on (https://docs.k3s.io/installation/requirements,
// Inbound Rules and Local Ports), without those of a cluster of several
// servers.
var ports = []TakenPort{
	{Number: 6443, For: "the API server"},
	{Number: 6444, For: "the API server's local access"},
	{Number: 10250, For: "the kubelet"},
	{Number: 10010, For: "containerd's streams of exec and logs"},
	{Number: 10248, For: "the kubelet's health"},
	{Number: 10249, For: "kube-proxy's metrics"},
	{Number: 10256, For: "kube-proxy's health"},
	{Number: 10257, For: "the controller manager's metrics"},
	{Number: 10258, For: "the cloud controller's metrics"},
	{Number: 10259, For: "the scheduler's metrics"},
	{Number: flannelPort, UDP: true, For: "Flannel's VXLAN"},
}

// CollectBox looks at the machine. What can't be seen stays empty.
func CollectBox(ctx context.Context, o BoxOptions) (Box, error) {
	c := boxCollector{m: o.Machine}
	real := c.m.Path("/") == "/"
	b := Box{
		OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), Now: time.Now(),
		Root: !real || os.Geteuid() == 0, Distro: ParseOSRelease(c.read("/etc/os-release")),
		Kernel: c.read("/proc/sys/kernel/osrelease"), Packages: c.program("apt-get") != "",
	}
	unit := o.Service
	if unit == "" {
		unit = "k3s"
	}
	manager, err := service.Detect(c.m, unit)
	if err != nil {
		b.Init = err.Error()
	}
	b.Config, b.ConfigFile = kernelConfig(c.m, b.Kernel)
	b.Modules = c.there("/lib/modules/" + b.Kernel + "/modules.dep")
	dir := c.existing("/var/lib/rancher")
	if real && b.Root {
		b.Trials = tryFeatures(ctx, dir)
	}
	b.Cgroup, b.Controllers = c.cgroups()
	b.Free, b.Size = capacity(c.m.Path(dir))
	b.MemTotal, b.MemAvailable = meminfo(c.read("/proc/meminfo"))
	b.Swap = swap(c.read("/proc/swaps"))
	b.NewestFile, b.Newest = c.newest()
	b.NTP = c.ntp(ctx)
	b.K3s = c.k3s(unit)
	if b.Init == "" {
		if b.K3s.Active, err = manager.Active(ctx); err != nil {
			return b, err
		}
	}
	if !b.K3s.Active {
		b.Ports = c.takenPorts()
		b.Interfaces, b.Chains = c.network(ctx)
	}
	if b.Labctl, b.Interrupted, err = ledgerOf(c.m); err != nil {
		return b, err
	}
	b.AppArmor = c.read("/sys/module/apparmor/parameters/enabled") == "Y"
	b.Parser = c.there("/sbin/apparmor_parser") // where containerd looks for it
	b.SELinux = c.read("/sys/fs/selinux/enforce") == "1"
	b.Firewalls = c.firewalls(ctx)
	b.Others = c.others(b.K3s.Active)
	return b, ctx.Err()
}

type boxCollector struct{ m machine.Machine }

func (c boxCollector) read(path string) string {
	b, _ := c.m.ReadFile(path) // on this level that is an answer, not an error
	return strings.TrimSpace(string(b))
}

func (c boxCollector) there(path string) bool {
	_, err := os.Stat(c.m.Path(path))
	return err == nil
}

func (c boxCollector) program(name string) string {
	found, _ := c.m.LookPath("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin", name)
	return found
}

// existing is the folder, or the nearest one above that is there.
func (c boxCollector) existing(dir string) string {
	for dir != "/" && !c.there(dir) {
		dir = path.Dir(dir)
	}
	return dir
}

// cgroups gives the version and the controllers that work in it.
func (c boxCollector) cgroups() (string, []string) {
	var unified []string
	mounts := c.read("/proc/self/mounts")
	version := cgroups(mounts, func(dir string) bool {
		controllers := strings.Fields(c.read(dir + "/cgroup.controllers"))
		unified = append(unified, controllers...)
		return len(controllers) > 0
	})
	if version == "v2" {
		return version, unified
	}
	mounted := map[string]bool{}
	for line := range strings.Lines(mounts) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[2] == "cgroup" {
			for _, option := range strings.Split(fields[3], ",") {
				mounted[option] = true
			}
		}
	}
	// cgroups(7): name, hierarchy, number of cgroups, enabled.
	var controllers []string
	for line := range strings.Lines(c.read("/proc/cgroups")) {
		if f := strings.Fields(line); len(f) == 4 && f[3] == "1" && mounted[f[0]] {
			controllers = append(controllers, f[0])
		}
	}
	return version, controllers
}

// swap is the sum of /proc/swaps in bytes (its unit is KiB).
func swap(text string) uint64 {
	total := uint64(0)
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 3 {
			kib, err := strconv.ParseUint(f[2], 10, 54)
			if err == nil { // the heading is no number
				total += kib << 10
			}
		}
	}
	return total
}

// witnesses are files that change whenever the system does: their times can't
// be in the future.
var witnesses = []string{"/etc", "/etc/machine-id", "/var/log", "/var/lib/dpkg/status", "/var/lib/rpm", "/lib/apk/db/installed", "/usr/bin", "/var/lib/systemd/timesync/clock"}

func (c boxCollector) newest() (file string, at time.Time) {
	for _, w := range witnesses {
		if info, err := os.Stat(c.m.Path(w)); err == nil && info.ModTime().After(at) {
			file, at = w, info.ModTime()
		}
	}
	return file, at
}

// ntp asks systemd whether the clock is synchronized (timedatectl(1)).
func (c boxCollector) ntp(ctx context.Context) string {
	if c.program("timedatectl") == "" {
		return ""
	}
	exit, err := c.m.Run(ctx, machine.Command{Argv: []string{"timedatectl", "show", "--property=NTPSynchronized", "--value"}})
	if err != nil || exit.Code != 0 {
		return "" // as in a container without systemd's bus
	}
	return strings.TrimSpace(string(exit.Stdout))
}

// k3s finds what there is of K3s, whole or left over.
func (c boxCollector) k3s(unit string) BoxK3s {
	k := BoxK3s{Binary: c.program("k3s"), Uninstall: c.program(unit + "-uninstall.sh")}
	for _, file := range []string{"/etc/systemd/system/" + unit + ".service", "/etc/init.d/" + unit, "/usr/lib/systemd/system/" + unit + ".service", "/lib/systemd/system/" + unit + ".service"} {
		if c.there(file) {
			k.Unit = file
			break
		}
	}
	for _, dir := range []string{k3sData + "/server/db", k3sData + "/agent/containerd", k3sData + "/data", k3sConfig} {
		if c.there(dir) {
			k.Data = append(k.Data, dir)
		}
	}
	return k
}

// takenPorts are those of K3s's ports that somebody listens on
// (proc_pid_net(5)).
func (c boxCollector) takenPorts() []TakenPort {
	const tcpListen, udpBound = "0A", "07" // TCP_LISTEN, TCP_CLOSE in the kernel's tcp_states.h
	inodes := map[string]string{}
	for _, table := range []struct{ file, state, protocol string }{
		{"/proc/net/tcp", tcpListen, "tcp"}, {"/proc/net/tcp6", tcpListen, "tcp"}, {"/proc/net/udp", udpBound, "udp"}, {"/proc/net/udp6", udpBound, "udp"},
	} {
		for line := range strings.Lines(c.read(table.file)) {
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != table.state {
				continue
			}
			_, hexPort, _ := strings.Cut(f[1], ":")
			if raw, err := hex.DecodeString(hexPort); err == nil && len(raw) == 2 {
				inodes[fmt.Sprint(table.protocol, int(raw[0])<<8|int(raw[1]))] = f[9]
			}
		}
	}
	var taken []TakenPort
	for _, p := range ports {
		protocol := "tcp"
		if p.UDP {
			protocol = "udp"
		}
		if inode, is := inodes[fmt.Sprint(protocol, p.Number)]; is {
			p.By = c.owner(inode)
			taken = append(taken, p)
		}
	}
	return taken
}

// owner names the process that has a socket.
func (c boxCollector) owner(inode string) string {
	if inode == "0" {
		return "the kernel"
	}
	links, _ := filepath.Glob(c.m.Path("/proc/[0-9]*/fd/*")) // the pattern is right
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == "socket:["+inode+"]" {
			pid := filepath.Base(filepath.Dir(filepath.Dir(link)))
			return fmt.Sprintf("%s (pid %s)", c.read("/proc/"+pid+"/comm"), pid)
		}
	}
	return "another program"
}

// leftInterfaces are made by K3s's Flannel and its CNI plug-ins, and by other
// Kubernetes networks.
var leftInterfaces = []string{"cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "kube-ipvs0", "kube-bridge", "cilium_host"}

func (c boxCollector) network(ctx context.Context) (interfaces []string, chains int) {
	for _, name := range leftInterfaces {
		if c.there("/sys/class/net/" + name) {
			interfaces = append(interfaces, name)
		}
	}
	for _, save := range []string{"iptables-save", "iptables-legacy-save"} {
		program := c.program(save)
		if program == "" {
			continue
		}
		exit, err := c.m.Run(ctx, machine.Command{Argv: []string{program}})
		if err != nil || exit.Code != 0 {
			continue // not as root, or no such tables
		}
		lines := bufio.NewScanner(strings.NewReader(string(exit.Stdout)))
		n := 0
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), ":KUBE-") || strings.HasPrefix(lines.Text(), ":FLANNEL-") {
				n++
			}
		}
		chains = max(chains, n) // both may show the same tables
	}
	return interfaces, chains
}

// ledgerOf says whether labctl changed the machine, and what it didn't end.
func ledgerOf(m machine.Machine) (is bool, interrupted string, err error) {
	l, err := ledger.Open(m)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false, "", nil
	case err != nil:
		return false, "", err
	}
	for _, e := range l.Entries(ledger.K3s) {
		if !e.Done {
			return true, "the installation of K3s", nil
		}
	}
	if l.RestartDue() {
		return true, "the restart of K3s with its new configuration", nil
	}
	return true, "", nil
}

func (c boxCollector) firewalls(ctx context.Context) []string {
	var on []string
	if c.program("firewall-cmd") != "" {
		if exit, err := c.m.Run(ctx, machine.Command{Argv: []string{"firewall-cmd", "--state"}}); err == nil && exit.Code == 0 {
			on = append(on, "firewalld")
		}
	}
	if strings.Contains("\n"+c.read("/etc/ufw/ufw.conf")+"\n", "\nENABLED=yes\n") && c.program("ufw") != "" {
		on = append(on, "ufw")
	}
	return on
}

// others are kubelets and container engines in the machine's own PID
// namespace: those in containers, as kind's, are none of K3s's business.
func (c boxCollector) others(k3sRuns bool) []Process {
	wanted := []string{"kubelet", "dockerd", "containerd", "crio", "rke2", "k0s", "microk8s", "k3s-agent"}
	here, err := os.Readlink(c.m.Path("/proc/self/ns/pid"))
	if err != nil {
		here = ""
	}
	entries, _ := os.ReadDir(c.m.Path("/proc")) // none on other systems
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		name := c.read("/proc/" + e.Name() + "/comm")
		if !slices.Contains(wanted, name) {
			continue
		}
		if ns, err := os.Readlink(c.m.Path("/proc/" + e.Name() + "/ns/pid")); here != "" && (err != nil || ns != here) {
			continue
		}
		if k3sRuns && strings.Contains(c.read("/proc/"+e.Name()+"/cgroup"), "k3s") {
			continue // K3s's own containerd
		}
		found = append(found, Process{Name: name, PID: pid})
	}
	return found
}
