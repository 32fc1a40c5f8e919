package doctor

import (
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// Facts is what was seen of a machine.
type Facts struct {
	// OS and Arch are GOOS and GOARCH.
	OS, Arch string
	Distro   Distro
	// Root says that labctl runs as root, Sudo that sudo asks no password.
	Root, Sudo bool
	// Systemd says that PID 1 is systemd.
	Systemd bool

	// Engine is the container engine that passed the trial, or "".
	Engine string
	// Refusal says of each engine why it fell.
	Refusal *engine.Refusal

	// Programs holds which of the programs asked for are there.
	Programs map[string]bool
	// Go is the version of the go tool (1.26.0), "" without one; with
	// GoAuto it fetches newer ones by itself (GOTOOLCHAIN).
	Go     string
	GoAuto bool
	// DebianKeys says that the Debian archive's keys are there.
	DebianKeys bool

	// Registry says that the registry of the node image's base answers. It is
	// asked only where that makes a difference.
	Registry bool

	// Disks are the file systems that fill, in bytes free.
	Disks []Disk
	// MemAvailable and MemTotal are in bytes (proc_meminfo(5)).
	MemAvailable, MemTotal uint64

	// KVM is "" where /dev/kvm opens, else why not.
	KVM string
	// Cgroup is v1, v2, mixed (controllers on both) or "" (none mounted).
	Cgroup string
	// LibModules says that /lib/modules is there.
	LibModules bool
	// Overlay says that the kernel knows overlayfs.
	Overlay bool
	// Tasks is the least of the limits on processes and threads that hold
	// for labctl's children; 0 is none. TasksBy names it.
	Tasks   uint64
	TasksBy string
	// InotifyInstances is fs.inotify.max_user_instances (inotify(7)).
	InotifyInstances uint64
	// Port is "" where the API server's port can be listened on, else why not.
	Port string
	// Now is the machine's clock; Built when this labctl was built, zero if
	// unknown.
	Now, Built time.Time
}

// Disk is a file system by what labctl has on it.
type Disk struct {
	Path string
	Use  string
	Free uint64 // bytes
}

// Distro is what os-release(5) says.
type Distro struct {
	ID        string
	Like      []string
	VersionID string
	Name      string
}

// ParseOSRelease reads os-release(5).
func ParseOSRelease(text string) Distro {
	var d Distro
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			d.ID = value
		case "ID_LIKE":
			d.Like = strings.Fields(value)
		case "VERSION_ID":
			d.VersionID = value
		case "PRETTY_NAME":
			d.Name = value
		}
	}
	return d
}

// family is a package manager.
type family string

const (
	apt    family = "apt"
	dnf    family = "dnf"
	pacman family = "pacman"
	zypper family = "zypper"
	brew   family = "brew"
)

// install is how a person installs with it.
var install = map[family]string{
	apt: "apt-get install", dnf: "dnf install", pacman: "pacman -S", zypper: "zypper install", brew: "brew install",
}

// family is the machine's package manager, "" if labctl doesn't know it.
func (f Facts) family() family {
	if f.OS == "darwin" {
		return brew
	}
	is := func(ids ...string) bool {
		return slices.ContainsFunc(append(f.Distro.Like, f.Distro.ID), func(id string) bool { return slices.Contains(ids, id) })
	}
	switch {
	case is("debian", "ubuntu"):
		return apt
	case is("fedora", "rhel", "centos"):
		return dnf
	case is("arch"):
		return pacman
	case is("suse", "opensuse"):
		return zypper
	}
	return ""
}
