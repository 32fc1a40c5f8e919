package labprobe

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cgroup is a process's place in one cgroup hierarchy, as seen from here.
type cgroup struct {
	version int
	// dir is the directory of the cgroup in the tree, without leading slash.
	dir string
}

// read gives a control file's text, "" where it can't be read, and its path.
func (c cgroup) read(tree fs.FS, file string) (text, ref string) {
	file = path.Join(c.dir, file)
	text, err := readText(tree, file)
	if err != nil {
		return "", "/" + file + " (not readable)"
	}
	return text, "/" + file
}

// cgroupOf finds where the cgroup of a process for a controller (memory, cpu,
// pids) is visible; pid is a number or self. cgroups(7) has the formats. The
// second result is false where the hierarchy isn't mounted here.
func cgroupOf(tree fs.FS, pid, controller string) (cgroup, bool) {
	memberships, err := fs.ReadFile(tree, path.Join("proc", pid, "cgroup"))
	if err != nil {
		return cgroup{}, false
	}
	mountinfo, err := fs.ReadFile(tree, "proc/self/mountinfo")
	if err != nil {
		return cgroup{}, false
	}
	var unified string
	for _, l := range lines(memberships) {
		// hierarchy:controllers:path
		parts := strings.SplitN(l, ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[1] == "" {
			unified = parts[2]
			continue
		}
		if slices.Contains(strings.Split(parts[1], ","), controller) {
			dir, ok := cgroupDir(tree, mountinfo, parts[2], "cgroup", controller)
			return cgroup{1, dir}, ok
		}
	}
	if unified == "" {
		return cgroup{}, false
	}
	dir, ok := cgroupDir(tree, mountinfo, unified, "cgroup2", "")
	return cgroup{2, dir}, ok
}

// cgroupDir maps a cgroup's path to a directory under a mount of its
// hierarchy. A container's mount often begins at the container's own cgroup,
// which its root field says.
func cgroupDir(tree fs.FS, mountinfo []byte, cgroupPath, fsType, controller string) (string, bool) {
	for _, l := range lines(mountinfo) {
		head, tail, ok := strings.Cut(l, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if !ok || len(h) < 5 || len(t) < 3 || t[0] != fsType {
			continue
		}
		if controller != "" && !slices.Contains(strings.Split(t[2], ","), controller) {
			continue
		}
		root, point := h[3], strings.TrimPrefix(h[4], "/")
		candidates := []string{point}
		if rest, ok := strings.CutPrefix(cgroupPath, strings.TrimSuffix(root, "/")); ok {
			candidates = slices.Insert(candidates, 0, path.Join(point, rest))
		}
		for _, dir := range candidates {
			if exists(tree, dir) {
				return dir, true
			}
		}
	}
	return "", false
}

// throttling is what cpu.stat says about throttling.
type throttling struct {
	keys               []string
	periods, throttled int64
	time               time.Duration
}

// readThrottling reads cpu.stat of either version: v1 counts nanoseconds
// (throttled_time), v2 microseconds (throttled_usec).
func readThrottling(tree fs.FS, c cgroup) (throttling, error) {
	b, err := fs.ReadFile(tree, path.Join(c.dir, "cpu.stat"))
	if err != nil {
		return throttling{}, err
	}
	var s throttling
	for _, l := range lines(b) {
		key, value, _ := strings.Cut(l, " ")
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return throttling{}, fmt.Errorf("/%s/cpu.stat: %q is no counter", c.dir, l)
		}
		s.keys = append(s.keys, key)
		switch key {
		case "nr_periods":
			s.periods = n
		case "nr_throttled":
			s.throttled = n
		case "throttled_time":
			s.time = time.Duration(n)
		case "throttled_usec":
			s.time = time.Duration(n) * time.Microsecond
		}
	}
	return s, nil
}
