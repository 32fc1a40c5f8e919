package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"go/version"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// MinGo is the oldest Go that builds labctl and what goes into node images.
const MinGo = "1.26.0"

const (
	// buildDisk is what building the node image from packages took: 3 GB of
	// module and build caches, 2 GB of artifacts and 2 GB in the engine.
	buildDisk = 8 << 30
	// labsDisk is what all labs took from empty caches: 15 GB of Go's build
	// cache, 7 GB of modules, 2 GB of artifacts and 9 GB in the engine, of which
	// the node image is a part.
	labsDisk = 33 << 30
	// runDisk is what one cluster writes, with room for the labs' images.
	runDisk = 3 << 30
	// leastMemory is what one node with its control plane takes, enoughMemory
	// what it takes with every lab's Pods beside a build.
	leastMemory  = 2 << 30
	enoughMemory = 4 << 30
	// leastTasks is a control plane (some 400 threads) and sandboxes of about
	// 50 threads each.
	leastTasks = 4096
	// leastInotify: each node's systemd, kubelet and containerd take about 40
	// instances of one user's; kind's known issues name 512.
	leastInotify = 512
)

// Programs are those that Diagnose wants to know about.
var Programs = []string{
	"docker", "podman", "nerdctl", "runc", "crun", "netavark", "aardvark-dns", "iptables",
	"apt-get", "mmdebstrap", "go", "qemu-system-x86_64",
}

// Diagnose says what isn't as labs want it, the worst first.
func Diagnose(f Facts, o Options) []Finding {
	d := diagnosis{f: f}
	if !o.NoCluster {
		d.engine(o)
		d.host()
		if !o.HaveImage {
			d.build(o)
		}
	}
	d.resources(o)
	d.measuring()
	order := []Level{Missing, Warning, Info}
	slices.SortStableFunc(d.findings, func(a, b Finding) int {
		return cmp.Compare(slices.Index(order, a.Level), slices.Index(order, b.Level))
	})
	return d.findings
}

type diagnosis struct {
	f        Facts
	findings []Finding
}

func (d *diagnosis) add(f Finding) { d.findings = append(d.findings, f) }

// packaged adds a finding whose remedy is packages: their names by family.
func (d *diagnosis) packaged(f Finding, names map[family][]string) {
	switch fam := d.f.family(); {
	case len(names[fam]) == 0:
		f.Remedy = join(f.Remedy, "labctl doesn't know this distribution's package for it")
	default:
		command := install[fam] + " " + strings.Join(names[fam], " ")
		if !d.f.Root && fam != brew {
			command = "sudo " + command
		}
		f.Remedy = join(command, f.Remedy)
		if fam == apt {
			f.Packages = names[fam] // the family that Fix knows
		}
	}
	d.add(f)
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func (d *diagnosis) lacks(program string) bool { return !d.f.Programs[program] }

// engine: nothing is missing where one passed the trial, whatever it took.
func (d *diagnosis) engine(o Options) {
	if d.f.Engine != "" || d.f.Refusal == nil {
		return
	}
	finding := Finding{ID: "engine", Level: Missing, What: d.f.Refusal.Brief()}
	// An engine that is there and fell may lack a part; else one is to be
	// installed, and Podman needs no daemon, so it runs without systemd.
	wanted := o.Engine.Name
	if wanted == "" {
		wanted = engine.Podman
	}
	var apts []string
	if wanted == engine.Podman {
		for _, part := range []struct{ program, pkg string }{
			{"podman", "podman"}, {"netavark", "netavark"}, {"aardvark-dns", "aardvark-dns"}, {"iptables", "iptables"}, {"runc", "runc"},
		} {
			if d.lacks(part.program) {
				apts = append(apts, part.pkg)
			}
		}
	} else if d.lacks(wanted) {
		apts = map[string][]string{engine.Docker: {"docker.io"}}[wanted]
	}
	for _, a := range d.f.Refusal.Attempts {
		if !errors.Is(a.Err, engine.ErrNotInstalled) {
			if advice := engine.Advice(a.Err); advice != "" {
				finding.Remedy = join(finding.Remedy, a.Engine+": "+advice)
			}
		}
	}
	if len(apts) == 0 && d.f.family() == apt {
		if finding.Remedy == "" {
			finding.Remedy = "see the engine's message; a machine that refuses privileged containers can't run lab nodes"
		}
		d.add(finding)
		return
	}
	names := map[family][]string{apt: apts}
	if wanted == engine.Podman {
		names[dnf] = []string{"podman"}
		names[pacman] = []string{"podman", "netavark", "aardvark-dns"}
		names[zypper] = []string{"podman"}
		names[brew] = []string{"podman"}
		if d.f.family() == brew {
			finding.Remedy = join("then podman machine init --rootful && podman machine start", finding.Remedy)
		}
	}
	d.packaged(finding, names)
}

// host: what nodes find of the machine. Elsewhere than on Linux it is the
// engine's virtual machine that matters, and the trial has tried it.
func (d *diagnosis) host() {
	f := d.f
	if f.OS != "linux" {
		return
	}
	if !f.LibModules {
		d.add(Finding{ID: "lib-modules", Level: Missing, What: "there is no /lib/modules, which kind mounts into nodes (it may be empty)",
			Remedy: "mkdir /lib/modules", MakeDir: "/lib/modules"})
	}
	switch f.Cgroup {
	case "":
		d.add(Finding{ID: "cgroup", Level: Missing, What: "no cgroup file system is mounted",
			Remedy: "mount one: mount -t cgroup2 none /sys/fs/cgroup"})
	case "v1", "mixed":
		d.add(Finding{ID: "cgroup", Level: Info, What: "the machine is on cgroup " + f.Cgroup + "; kubelets get failCgroupV1: false where they need it"})
	}
	if !f.Overlay {
		d.add(Finding{ID: "overlay", Level: Warning, What: "the kernel doesn't list overlayfs: containers are copied in full, which is slow and large",
			Remedy: "modprobe overlay"})
	}
	if f.Tasks > 0 && f.Tasks < leastTasks {
		d.add(Finding{ID: "tasks", Level: Warning, What: fmt.Sprintf("%s allows %d processes and threads; a lab cluster takes up to %d", f.TasksBy, f.Tasks, leastTasks),
			Remedy: "raise it"})
	}
	if f.InotifyInstances > 0 && f.InotifyInstances < leastInotify {
		d.add(Finding{ID: "inotify", Level: Warning, What: fmt.Sprintf("fs.inotify.max_user_instances is %d; several nodes need more and fail with \"too many open files\"", f.InotifyInstances),
			Remedy: fmt.Sprintf("sysctl fs.inotify.max_user_instances=%d", leastInotify)})
	}
	if f.Port != "" {
		d.add(Finding{ID: "port", Level: Missing, What: "the API server's port: " + f.Port, Remedy: "choose another port, or none for a free one; the loopback device must be up"})
	}
}

// build: what makes the node image.
func (d *diagnosis) build(o Options) {
	f := d.f
	fromDebian := o.Source == "debian" || o.Source != "registry" && !f.Registry
	if d.lacks("apt-get") {
		finding := Finding{ID: "apt", Level: Warning,
			What:   "there is no apt, which gets gVisor's shim from Debian's source package",
			Remedy: "give a gVisor release with --gvisor, or run labctl on Debian or Ubuntu"}
		if fromDebian {
			finding.Level = Missing
			finding.What = "no registry answers, so the node image has to be built from Debian packages, and there is no apt to get them"
			finding.Remedy = "see to the way to the registry, or run labctl on Debian or Ubuntu"
		}
		d.add(finding)
	} else {
		if fromDebian && d.lacks("mmdebstrap") {
			d.packaged(Finding{ID: "mmdebstrap", Level: Missing, What: "mmdebstrap makes the node's root file system from Debian packages"},
				map[family][]string{apt: {"mmdebstrap"}})
		}
		if !f.DebianKeys {
			d.packaged(Finding{ID: "debian-keys", Level: Missing, What: "the Debian archive's keys, which packages are checked by, are not there"},
				map[family][]string{apt: {"debian-archive-keyring"}})
		}
	}
	switch have := "go" + f.Go; {
	case f.Go == "":
		d.add(Finding{ID: "go", Level: Missing, What: "there is no Go, which builds what the node image is made of", Remedy: "install Go " + MinGo + " or later from https://go.dev/dl"})
	case version.Compare(have, "go"+MinGo) < 0 && !f.GoAuto:
		d.add(Finding{ID: "go", Level: Missing, What: fmt.Sprintf("Go is %s; %s is needed", f.Go, MinGo), Remedy: "install Go " + MinGo + " or later from https://go.dev/dl, or let Go 1.21 and later fetch it: go env -w GOTOOLCHAIN=auto"})
	}
}

func (d *diagnosis) resources(o Options) {
	f := d.f
	need := uint64(buildDisk)
	if o.HaveImage {
		need = runDisk
	}
	if o.NoCluster {
		need = 1 << 30
	}
	for _, disk := range f.Disks {
		finding := Finding{ID: "disk", Level: Missing, What: fmt.Sprintf("%s free below %s (%s); %s are needed", bytes(disk.Free), disk.Path, disk.Use, bytes(need)),
			Remedy: "free some space, or put labctl's cache elsewhere with XDG_CACHE_HOME"}
		if disk.Free >= need {
			if o.HaveImage || o.NoCluster || disk.Free >= labsDisk {
				continue
			}
			finding.Level = Warning
			finding.What = fmt.Sprintf("%s free below %s (%s); the node image needs %s, all labs and their add-ons took %s from empty caches", bytes(disk.Free), disk.Path, disk.Use, bytes(need), bytes(labsDisk))
		}
		d.add(finding)
	}
	switch {
	case f.MemTotal == 0 || o.NoCluster:
	case f.MemAvailable < leastMemory:
		d.add(Finding{ID: "memory", Level: Missing, What: fmt.Sprintf("%s of memory are available; a node takes %s", bytes(f.MemAvailable), bytes(leastMemory)), Remedy: "end other programs, or take a larger machine"})
	case f.MemAvailable < enoughMemory:
		d.add(Finding{ID: "memory", Level: Warning, What: fmt.Sprintf("%s of memory are available; labs are comfortable with %s", bytes(f.MemAvailable), bytes(enoughMemory)), Remedy: "end other programs"})
	}
	if !f.Built.IsZero() && f.Now.Before(f.Built.Add(-24*time.Hour)) {
		d.add(Finding{ID: "clock", Level: Missing, What: fmt.Sprintf("the clock says %s, before this labctl was built: certificates and package signatures won't be valid", f.Now.Format(time.DateOnly)), Remedy: "set the clock"})
	}
}

// measuring: what claims are untestable without.
func (d *diagnosis) measuring() {
	if d.lacks("qemu-system-x86_64") && d.f.Arch == "amd64" {
		d.packaged(Finding{ID: "qemu", Level: Warning, What: "there is no qemu-system-x86_64: claims that a microVM shows are untestable"},
			map[family][]string{apt: {"qemu-system-x86"}, dnf: {"qemu-system-x86-core"}, pacman: {"qemu-system-x86"}, zypper: {"qemu-x86"}, brew: {"qemu"}})
	}
	if d.f.KVM != "" && d.f.OS == "linux" {
		d.add(Finding{ID: "kvm", Level: Info, What: "no KVM (" + d.f.KVM + "): microVMs are emulated, and claims about hardware assist may be untestable"})
	}
}

func bytes(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
