package labprobe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// cpuGroup is a cgroup of our own with a CPU quota.
type cpuGroup struct {
	version int
	path    string
}

const cpuGroupPrefix = "labprobe-throttle-"

// newCPUGroup makes a cgroup below the CPU controller's root, with a quota.
func newCPUGroup(quota, period time.Duration) (_ *cpuGroup, err error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, fmt.Errorf("cgroup mounts: %w", err)
	}
	version, root, ok := cpuController(string(mounts), readFile)
	if !ok {
		return nil, evidence.Untestablef("no cgroup mount has the CPU controller")
	}
	sweep(root)
	g := &cpuGroup{version, filepath.Join(root, cpuGroupPrefix+strconv.Itoa(os.Getpid()))}
	err = os.Mkdir(g.path, 0o755)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		return nil, evidence.Untestablef("a cgroup of its own needs root and a writable cgroup mount: %v", err)
	}
	if err != nil {
		return nil, fmt.Errorf("new cgroup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = g.remove() // the first error says more
		}
	}()
	q, p := strconv.FormatInt(quota.Microseconds(), 10), strconv.FormatInt(period.Microseconds(), 10)
	settings := [][2]string{{"cpu.cfs_period_us", p}, {"cpu.cfs_quota_us", q}}
	if g.version == 2 {
		settings = [][2]string{{"cpu.max", q + " " + p}}
	}
	for _, s := range settings {
		err := os.WriteFile(filepath.Join(g.path, s[0]), []byte(s[1]), 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return nil, evidence.Untestablef("the CPU controller isn't on for children of %s (cgroup.subtree_control), or the kernel has no CFS_BANDWIDTH: %v", root, err)
		}
		if err != nil {
			return nil, fmt.Errorf("CPU quota: %w", err)
		}
	}
	return g, nil
}

func readFile(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "" // a mount without the file has no controller for us
	}
	return string(text)
}

// cpuController finds the mount that has the CPU controller, in the text of
// /proc/mounts: cgroup v1 with the option cpu, or cgroup2 whose
// cgroup.controllers names it.
func cpuController(mounts string, read func(path string) string) (version int, root string, ok bool) {
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		switch f[2] {
		case "cgroup":
			if slices.Contains(strings.Split(f[3], ","), "cpu") {
				return 1, f[1], true
			}
		case "cgroup2":
			if slices.Contains(strings.Fields(read(filepath.Join(f[1], "cgroup.controllers"))), "cpu") {
				return 2, f[1], true
			}
		}
	}
	return 0, "", false
}

// sweep removes groups that a killed labprobe left: older than any run lasts.
func sweep(root string) {
	left, _ := filepath.Glob(filepath.Join(root, cpuGroupPrefix+"*")) // the pattern is fixed
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > 10*time.Minute {
			_ = os.Remove(path) // one that still has processes stays
		}
	}
}

// enter moves a process into the group.
func (g *cpuGroup) enter(pid int) error {
	if err := os.WriteFile(filepath.Join(g.path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("move a process into the cgroup: %w", err)
	}
	return nil
}

// stat reads the group's cpu.stat.
func (g *cpuGroup) stat() (throttling, error) {
	t, err := readThrottling(os.DirFS("/"), cgroup{g.version, strings.TrimPrefix(g.path, "/")})
	if err != nil {
		return t, fmt.Errorf("cpu.stat: %w", err)
	}
	if !slices.Contains(t.keys, "nr_throttled") {
		return t, fmt.Errorf("cpu.stat of %s has no nr_throttled", g.path)
	}
	return t, nil
}

// remove removes the group; processes that just ended may hold it a moment.
func (g *cpuGroup) remove() error {
	var err error
	for range 50 {
		if err = os.Remove(g.path); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the cgroup: %w", err)
	}
	return nil
}
