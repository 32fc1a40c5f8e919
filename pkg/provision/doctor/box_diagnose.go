package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// K3s's documentation, as remedies cite it (https://docs.k3s.io).
const (
	docRequirements = "K3s docs, Installation: Requirements"
	docAdvanced     = "K3s docs, Advanced Options"
	docUninstall    = "K3s docs, Installation: Uninstalling K3s"
	docKnown        = "K3s docs, Known Issues"
)

const (
	// agentMemory and serverMemory are the documented minima (Requirements,
	// Hardware): 512 MB for an agent, 2 GB for a server; here a server runs.
	// Machines have a little less than their name says.
	agentMemory  = 480 << 20
	serverMemory = 1900 << 20
	// labsMemory is what labs' Pods take beside K3s.
	labsMemory = 700 << 20
	// leastBox is what the provider k3s asks for: K3s's program, packed and
	// unpacked, and its images; enoughBox has room for the runtimes' packages,
	// logs and the labs' files.
	leastBox  = 1 << 30
	enoughBox = 3 << 30
	// evictionShare: K3s's kubelet evicts Pods when less than 5 % is free
	// (pkg/daemons/agent sets eviction-hard).
	evictionShare = 20
)

// DiagnoseBox says what stands in the way of K3s, the worst first.
func DiagnoseBox(b Box) []Finding {
	d := boxDiagnosis{b: b}
	if b.OS != "linux" {
		d.add("os", Missing, "K3s runs on Linux, and this is "+b.OS, "run labctl on the Linux machine that is to be the node, or use --provider kind or kubeconfig")
		return d.findings
	}
	d.basics()
	d.kernel()
	d.cgroups()
	d.room()
	d.clock()
	d.leftovers()
	d.security()
	d.beside()
	order := []Level{Missing, Warning, Info}
	slices.SortStableFunc(d.findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level))
	})
	return d.findings
}

type boxDiagnosis struct {
	b        Box
	findings []Finding
}

func (d *boxDiagnosis) add(id string, level Level, what, remedy string) {
	d.findings = append(d.findings, Finding{ID: id, Level: level, What: what, Remedy: remedy})
}

func (d *boxDiagnosis) basics() {
	b := d.b
	if !slices.Contains([]string{"amd64", "arm64", "arm"}, b.Arch) {
		d.add("arch", Missing, "K3s is not available for "+b.Arch, "it is for x86_64, armhf and arm64 ("+docRequirements+")")
	}
	if !b.Root {
		d.add("root", Missing, "labctl doesn't run as root, which makes a machine a node; some of what follows couldn't be seen", "run it as root, with sudo")
	}
	if b.Init != "" {
		d.add("init", Missing, b.Init, "K3s is a service of one of them ("+docRequirements+", Operating Systems)")
	}
	if b.CPUs < 2 {
		d.add("cpu", Warning, "there is one CPU; K3s's documentation asks two of a server", "it works, and timings of labs say less ("+docRequirements+")")
	}
	if !b.Packages && !b.K3s.Active {
		d.add("apt", Warning, "there is no apt, by which labctl installs the runtimes", "give their programs with --runtime-files DIR")
	}
}

func (d *boxDiagnosis) kernel() {
	b := d.b
	for _, n := range needs {
		tried, was := b.Trials[n.feature]
		absent := n.absent(b)
		known := b.ConfigFile != ""
		switch {
		case was && tried == "":
			continue // it works, whatever the configuration says
		case !was && (!known || len(absent) == 0):
			continue
		case n.feature == netfilter && known && len(absent) == 0:
			continue // its modules are loaded when they are wanted
		}
		what := fmt.Sprintf("the kernel %s lacks %s, without which there is no way for %s", b.Kernel, n.feature, n.without)
		if was {
			what += ": " + tried
		}
		if known && len(absent) > 0 {
			what += fmt.Sprintf(" (%s: %s)", b.ConfigFile, strings.Join(absent, ", "))
		}
		remedy := "install the distribution's full kernel and its modules, and boot it; `k3s check-config` lists every option"
		switch {
		case n.feature == overlay && len(absent) == 0:
			remedy = "put /var/lib/rancher on ext4, xfs or btrfs: an overlay can't lie on an overlay or on most network file systems"
		case n.feature == vxlan && strings.Contains(b.Distro.Name+b.Kernel, "raspi"):
			remedy = "apt-get install linux-modules-extra-raspi (" + docRequirements + ", Raspberry Pi)"
		case !b.Modules && slices.Contains(values(b.Config, n), "m"):
			remedy = fmt.Sprintf("its modules aren't below /lib/modules/%s: reboot after a kernel update, or install the package with the modules", b.Kernel)
		}
		d.add("kernel-"+strings.ReplaceAll(string(n.feature), " ", "-"), n.level, what, remedy)
	}
	if b.ConfigFile == "" {
		d.add("kernel-config", Info, "the kernel's configuration can't be read (no /proc/config.gz, no /boot/config-"+b.Kernel+"): what can be tried was tried", "modprobe configs, or `k3s check-config` once K3s is there")
	}
}

// values are the configuration's values of a need's options.
func values(config map[string]string, n need) []string {
	var all []string
	for _, option := range n.options {
		for _, o := range strings.Split(option, "|") {
			all = append(all, config[o])
		}
	}
	return all
}

func (d *boxDiagnosis) cgroups() {
	b := d.b
	const raspberry = "append cgroup_memory=1 cgroup_enable=memory to the kernel's command line (/boot/firmware/cmdline.txt, or /boot/cmdline.txt, on a Raspberry Pi) and reboot (" + docRequirements + ", Cgroups)"
	if b.Cgroup == "" {
		d.add("cgroup", Missing, "no cgroup file system is mounted", "boot with systemd, or mount one: mount -t cgroup2 none /sys/fs/cgroup")
		return
	}
	if !slices.Contains(b.Controllers, "memory") {
		d.add("cgroup-memory", Missing, "the memory controller of cgroup "+b.Cgroup+" is off, and K3s ends without it", raspberry)
	}
	for _, c := range []string{"cpu", "cpuset", "pids"} {
		if !slices.Contains(b.Controllers, c) {
			d.add("cgroup-"+c, Missing, fmt.Sprintf("cgroup %s has no controller %s, which the kubelet asks for", b.Cgroup, c), "enable it in the kernel, or give it to the slice that K3s runs in (systemd's Delegate=)")
		}
	}
	if b.Cgroup != "v2" {
		d.add("cgroup", Info, "the machine is on cgroup "+b.Cgroup+"; kubelets of Kubernetes 1.35 and later refuse that unless failCgroupV1 is false, which labctl sets", "")
	}
}

func (d *boxDiagnosis) room() {
	b := d.b
	if b.Size > 0 && !b.K3s.Active {
		const elsewhere = "free some space, or mount another disk on /var/lib/rancher; an SSD rather than an SD card (" + docRequirements + ", Disks)"
		switch {
		case b.Free < leastBox:
			d.add("disk", Missing, fmt.Sprintf("below /var/lib/rancher are %s free; K3s, its images and the runtimes take %s", bytes(b.Free), bytes(leastBox)), elsewhere)
		case b.Free < b.Size/evictionShare+leastBox:
			d.add("disk", Missing, fmt.Sprintf("below /var/lib/rancher are %s of %s free; with K3s on it less than 5 %% are left, and then the kubelet evicts Pods", bytes(b.Free), bytes(b.Size)), elsewhere)
		case b.Free < enoughBox:
			d.add("disk", Warning, fmt.Sprintf("below /var/lib/rancher are %s free; labs are comfortable with %s", bytes(b.Free), bytes(enoughBox)), elsewhere)
		}
	}
	const smaller = "labctl installs K3s without the add-ons that labs don't need; end other programs, or take a larger machine (" + docRequirements + ", Hardware)"
	switch {
	case b.MemTotal == 0:
	case b.MemTotal < agentMemory:
		d.add("memory", Missing, fmt.Sprintf("the machine has %s of memory; 512 MB is the least that K3s's documentation names", bytes(b.MemTotal)), smaller)
	case !b.K3s.Active && b.MemAvailable < labsMemory:
		d.add("memory", Warning, fmt.Sprintf("%s of memory are available; K3s's server alone takes about as much", bytes(b.MemAvailable)), smaller)
	case b.MemTotal < serverMemory:
		d.add("memory", Warning, fmt.Sprintf("the machine has %s of memory; K3s's documentation asks 2 GB of a server", bytes(b.MemTotal)), smaller)
	}
	if b.Swap > 0 {
		d.add("swap", Info, fmt.Sprintf("%s of swap are on: K3s's kubelet allows it, and Pods don't use it", bytes(b.Swap)), "")
	}
	for _, p := range b.Ports {
		protocol, level := "TCP", Missing
		if p.UDP {
			protocol, level = "UDP", Warning // one node alone sends nothing there
		}
		d.add(fmt.Sprintf("port-%d", p.Number), level, fmt.Sprintf("%s port %d, which K3s wants for %s, is taken by %s", protocol, p.Number, p.For, p.By), "end that program ("+docRequirements+", Networking)")
	}
}

// earliest is before every release of K3s whose certificates could be checked.
var earliest = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func (d *boxDiagnosis) clock() {
	b := d.b
	const remedy = "set the clock (timedatectl set-time, or an NTP service) before K3s makes its certificates"
	switch {
	case b.Now.Before(earliest):
		d.add("clock", Missing, fmt.Sprintf("the clock says %s: a machine without a battery starts there, and no certificate is valid then", b.Now.Format(time.DateOnly)), remedy)
	case !b.Newest.IsZero() && b.Now.Before(b.Newest.Add(-24*time.Hour)):
		d.add("clock", Missing, fmt.Sprintf("the clock says %s, but %s was changed on %s: certificates that K3s makes now won't be valid when the clock is set", b.Now.Format(time.DateOnly), b.NewestFile, b.Newest.Format(time.DateOnly)), remedy)
	case b.NTP == "no":
		d.add("clock", Warning, "the clock is not synchronized, as systemd says", remedy)
	}
}

func (d *boxDiagnosis) leftovers() {
	b := d.b
	if b.Interrupted != "" {
		d.add("interrupted", Warning, "labctl began "+b.Interrupted+" on this machine and was interrupted", "labctl up --provider k3s goes on with it, labctl down --provider k3s takes it back")
	}
	if b.K3s.Active {
		d.add("k3s", Info, "K3s runs here ("+b.K3s.Unit+"): labctl adds what is missing to it and installs nothing else of K3s", "")
		return
	}
	uninstall := "remove the files by hand (" + docUninstall + ")"
	if b.K3s.Uninstall != "" {
		uninstall = "run " + b.K3s.Uninstall + ", which removes everything of K3s, data included (" + docUninstall + ")"
	}
	switch {
	case b.Interrupted != "":
		// What is left over is what labctl goes on with.
	case b.Labctl:
		d.add("k3s", Warning, "labctl made this machine a node, and K3s doesn't run", "its log says why; labctl up --provider k3s repairs it, labctl down --provider k3s takes it back")
	case b.K3s.Binary != "" && b.K3s.Unit != "":
		d.add("k3s", Missing, fmt.Sprintf("K3s is installed (%s) and its service %s doesn't run", b.K3s.Binary, b.K3s.Unit), "start it, and see its log if it ends; or "+uninstall)
	case b.K3s.Binary != "" && len(b.K3s.Data) == 0:
		d.add("k3s", Info, "the program "+b.K3s.Binary+" is there without a service", "")
	case b.K3s.Unit != "" && b.K3s.Binary == "":
		d.add("k3s", Missing, "the service "+b.K3s.Unit+" is left of an earlier K3s whose program is gone", uninstall)
	case b.K3s.Uninstall != "" && b.K3s.Binary == "":
		d.add("k3s", Missing, b.K3s.Uninstall+" is left of an earlier K3s whose program is gone", uninstall)
	case len(b.K3s.Data) > 0:
		d.add("k3s", Missing, fmt.Sprintf("an earlier K3s left %s without a service: a new K3s would take up its certificates and its database", strings.Join(b.K3s.Data, ", ")), uninstall)
	}
	if len(b.Interfaces) > 0 {
		remedy := "k3s-killall.sh removes those of K3s; or one by one: ip link delete " + b.Interfaces[0]
		d.add("network", Warning, "the machine still has network interfaces of a Kubernetes: "+strings.Join(b.Interfaces, ", "), remedy)
	}
	if b.Chains > 0 {
		d.add("iptables", Warning, fmt.Sprintf("iptables has %d chains of a Kubernetes that doesn't run", b.Chains), "k3s-killall.sh removes those of K3s; a reboot removes all ("+docKnown+", iptables)")
	}
}

func (d *boxDiagnosis) security() {
	b := d.b
	if b.AppArmor && !b.Parser {
		f := Finding{ID: "apparmor", Level: Warning, What: "the kernel has AppArmor on and there is no apparmor_parser: containers run without a profile", Remedy: "install the package apparmor"}
		if b.Packages {
			f.Remedy, f.Packages = "apt-get install apparmor", []string{"apparmor"}
		}
		d.findings = append(d.findings, f)
	}
	if b.SELinux {
		d.add("selinux", Warning, "SELinux is enforcing: K3s wants its policy package k3s-selinux, and gVisor and WasmEdge have none", "install k3s-selinux, or labs with refusals may say more of SELinux than of the runtimes ("+docAdvanced+", SELinux Support)")
	}
	for _, f := range b.Firewalls {
		rules := "firewall-cmd --permanent --zone=trusted --add-source=10.42.0.0/16 --add-source=10.43.0.0/16 && firewall-cmd --permanent --add-port=6443/tcp && firewall-cmd --reload"
		if f == "ufw" {
			rules = "ufw allow 6443/tcp && ufw allow from 10.42.0.0/16 to any && ufw allow from 10.43.0.0/16 to any"
		}
		d.add("firewall", Warning, f+" is on: it drops what goes between Pods and Services", "K3s's documentation recommends to turn it off, or to let the networks of Pods and Services through: "+rules+" ("+docRequirements+")")
	}
}

func (d *boxDiagnosis) beside() {
	var engines []string
	for _, p := range d.b.Others {
		switch p.Name {
		case "dockerd", "containerd", "crio":
			engines = append(engines, fmt.Sprintf("%s (pid %d)", p.Name, p.PID))
		default:
			d.add("kubelet", Missing, fmt.Sprintf("another Kubernetes runs on this machine: %s (pid %d)", p.Name, p.PID), "a machine is one node: use that cluster with --provider kubeconfig, or remove it")
		}
	}
	if len(engines) > 0 {
		d.add("engines", Info, "container engines run beside: "+strings.Join(engines, ", ")+"; K3s has a containerd of its own, and they don't touch each other", "")
	}
}
