package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"sigs.k8s.io/kind/pkg/apis/config/defaults"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// sbin are the folders of system programs that a user's PATH may lack, and
// where Podman's helpers lie (containers.conf(5), helper_binaries_dir).
var sbin = []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/podman", "/usr/libexec/podman", "/usr/local/lib/podman", "/usr/local/libexec/podman"}

// Collect looks at this machine.
func Collect(ctx context.Context, o Options, log progress.Log) (f Facts, err error) {
	f = Facts{
		OS: runtime.GOOS, Arch: runtime.GOARCH,
		Root: os.Geteuid() == 0, Programs: map[string]bool{},
		Now: time.Now(),
	}
	f.Distro = ParseOSRelease(read("/etc/os-release"))
	f.Systemd = read("/proc/1/comm") == "systemd"
	if !f.Root {
		_, err := process.Run(ctx, process.Command{Argv: []string{"sudo", "-n", "true"}})
		f.Sudo = err == nil
	}
	for _, name := range Programs {
		f.Programs[name] = have(name)
	}
	if self, err := os.Executable(); err == nil {
		if info, err := os.Stat(self); err == nil {
			f.Built = info.ModTime()
		}
	}
	f.Go, f.GoAuto = goVersion(ctx)
	for _, ending := range []string{"gpg", "pgp"} { // before trixie, and since
		f.DebianKeys = f.DebianKeys || exists("/usr/share/keyrings/debian-archive-keyring."+ending)
	}
	f.Disks = disks(o)
	f.MemTotal, f.MemAvailable = meminfo(read("/proc/meminfo"))
	f.KVM = kvm()
	f.Cgroup = cgroups(read("/proc/self/mounts"), func(dir string) bool { return read(dir+"/cgroup.controllers") != "" })
	f.LibModules = exists("/lib/modules")
	f.Overlay = strings.Contains(read("/proc/filesystems"), "overlay") || exists("/sys/module/overlay")
	f.Tasks, f.TasksBy = tasks()
	f.InotifyInstances, _ = strconv.ParseUint(read("/proc/sys/fs/inotify/max_user_instances"), 10, 64) // 0 where there is none
	if !o.NoCluster && !o.HaveImage && o.Source == "" && (!f.Programs["apt-get"] || !f.Programs["mmdebstrap"]) {
		if f.Registry, err = registry(ctx, o.BaseImage); err != nil {
			return f, err
		}
	}
	f.Port = port(o.APIServerPort)
	if o.NoCluster {
		return f, ctx.Err()
	}
	e, err := engine.Choose(ctx, o.Engine, log)
	switch {
	case err == nil:
		f.Engine = e.Name
	case errors.As(err, &f.Refusal):
	default:
		return f, err
	}
	return f, nil
}

func have(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range sbin {
		if exists(filepath.Join(dir, program)) {
			return true
		}
	}
	return false
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// read is a file's trimmed content, "" where it can't be read: on this level
// that is an answer, not an error.
func read(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

// registry asks the image's registry for its version, as every client does
// first (OCI Distribution Specification 1.1, end-1); any answer is one.
func registry(ctx context.Context, image string) (bool, error) {
	if image == "" {
		image = defaults.Image
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return false, fmt.Errorf("base image: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = transport.Ping(limited, ref.Context().Registry, http.DefaultTransport)
	return err == nil, ctx.Err()
}

var goVersionLine = regexp.MustCompile(`go version go([0-9.]+)`)

// goVersion asks go outside of any module, so that no go.mod switches it.
func goVersion(ctx context.Context) (v string, auto bool) {
	r, err := process.Run(ctx, process.Command{Argv: []string{"go", "version"}, Dir: "/", Env: []string{"GOTOOLCHAIN=local"}})
	if err != nil {
		return "", false
	}
	m := goVersionLine.FindSubmatch(r.Stdout)
	if m == nil {
		return "", false
	}
	r, err = process.Run(ctx, process.Command{Argv: []string{"go", "env", "GOTOOLCHAIN"}, Dir: "/"})
	mode := strings.TrimSpace(string(r.Stdout))
	return string(m[1]), err == nil && (mode == "auto" || strings.HasSuffix(mode, "+auto"))
}

func disks(o Options) []Disk {
	cache := o.CacheDir
	if cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			cache = filepath.Join(dir, "labctl")
		}
	}
	var all []Disk
	seen := map[uint64]bool{}
	for _, d := range []Disk{
		{Path: cache, Use: "labctl's cache"},
		{Path: "/var/lib/containers", Use: "Podman's storage"},
		{Path: "/var/lib/docker", Use: "Docker's storage"},
	} {
		if d.Use != "labctl's cache" && !exists(d.Path) || d.Path == "" {
			continue
		}
		dir := d.Path
		for !exists(dir) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
		}
		device, free, err := space(dir)
		if err != nil || seen[device] {
			continue // one finding a file system
		}
		seen[device] = true
		d.Free = free
		all = append(all, d)
	}
	return all
}

var meminfoLine = regexp.MustCompile(`(?m)^(MemTotal|MemAvailable):\s+(\d+) kB$`)

func meminfo(text string) (total, available uint64) {
	for _, m := range meminfoLine.FindAllStringSubmatch(text, -1) {
		kib, _ := strconv.ParseUint(m[2], 10, 54) // digits, by the pattern
		if m[1] == "MemTotal" {
			total = kib << 10
		} else {
			available = kib << 10
		}
	}
	return total, available
}

func kvm() string {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	_ = f.Close() // nothing was written
	return ""
}

// cgroups says which versions are mounted (/proc/PID/mounts).
func cgroups(mounts string, hasControllers func(dir string) bool) string {
	v1, v2, controllers := false, false, false
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		switch fields[2] {
		case "cgroup":
			v1 = true
		case "cgroup2":
			v2 = true
			controllers = controllers || hasControllers(fields[1])
		}
	}
	switch {
	case v1 && controllers:
		return "mixed"
	case v1:
		return "v1"
	case v2:
		return "v2"
	}
	return ""
}

// tasks is the least limit of processes and threads: the kernel's, and that
// of the cgroup v2 or v1 that labctl is in.
func tasks() (uint64, string) {
	files := []string{"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"}
	for line := range strings.Lines(read("/proc/self/cgroup")) { // cgroups(7)
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		switch parts[1] {
		case "":
			files = append(files, filepath.Join("/sys/fs/cgroup", parts[2], "pids.max"))
		case "pids":
			files = append(files, filepath.Join("/sys/fs/cgroup/pids", parts[2], "pids.max"))
		}
	}
	least, by := uint64(0), ""
	for _, file := range files {
		n, err := strconv.ParseUint(read(file), 10, 64)
		if err == nil && (by == "" || n < least) { // "max" is no number
			least, by = n, file
		}
	}
	return least, by
}

func port(wanted int32) string {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(wanted)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("%d on 127.0.0.1 is taken by another program", wanted)
	case err != nil:
		return err.Error()
	}
	_ = ln.Close() // it was only a question
	return ""
}
