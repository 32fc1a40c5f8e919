package labprobe

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func parseCgroup(args []string) (pid string, err error) {
	f := newFlags()
	f.StringVar(&pid, "pid", "self", "a process's id")
	if err := parseFlags(f, args); err != nil {
		return "", err
	}
	if n, err := strconv.Atoi(pid); pid != "self" && (err != nil || n < 1) {
		return "", fmt.Errorf("cgroup --pid %q: want a process id", pid)
	}
	return pid, nil
}

// controllers are those whose limits the documents of containers name.
var controllers = []string{"memory", "pids", "cpu"}

func cgroupOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseCgroup(args); err != nil {
		return nil, err
	}
	outputs := []evidence.Output{
		{Name: "version", Type: evidence.Int, Doc: "cgroup version that the memory controller is in: 1 or 2"},
		{Name: "memory.limited", Type: evidence.Bool, Doc: "whether memory has a limit"},
		{Name: "memory.limit", Type: evidence.Quantity, Unit: "bytes", Doc: "the limit; absent where there is none"},
		{Name: "memory.limit_file", Type: evidence.String, Doc: "name of the file for it: memory.limit_in_bytes in v1, memory.max in v2"},
		{Name: "memory.usage", Type: evidence.Quantity, Unit: "bytes", Doc: "memory charged to the cgroup"},
		{Name: "pids.limited", Type: evidence.Bool, Doc: "whether the number of processes has a limit"},
		{Name: "pids.max", Type: evidence.Int, Unit: "count", Doc: "the limit; absent where there is none"},
		{Name: "cpu.limited", Type: evidence.Bool, Doc: "whether CPU time has a limit"},
		{Name: "cpu.limit", Type: evidence.Double, Unit: "cpus", Doc: "quota / period; absent where there is none"},
		{Name: "cpu.stat.keys", Type: evidence.List, Doc: "counters of cpu.stat"},
		{Name: "cpu.throttled.time", Type: evidence.Duration, Doc: "time that tasks were held back; absent where cpu.stat doesn't say"},
	}
	for _, c := range controllers {
		outputs = append(outputs,
			evidence.Output{Name: c + ".path", Type: evidence.String, Doc: "directory of the cgroup as mounted here"},
			evidence.Output{Name: c + ".files", Type: evidence.List, Doc: "control files in it, sorted"})
	}
	return outputs, nil
}

func runCgroup(_ context.Context, args []string) (evidence.Set, error) {
	pid, err := parseCgroup(args)
	if err != nil {
		return nil, err
	}
	outputs, err := cgroupOutputs(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	if err := recordCgroup(r, root(), pid); err != nil {
		return nil, err
	}
	return r.result()
}

func recordCgroup(r *record, tree fs.FS, pid string) error {
	if !exists(tree, path.Join("proc", pid)) {
		return fmt.Errorf("no process %s", pid)
	}
	seen := 0
	for _, c := range controllers {
		group, ok := cgroupOf(tree, pid, c)
		if !ok {
			continue
		}
		entries, err := fs.ReadDir(tree, group.dir)
		if err != nil {
			continue
		}
		seen++
		var files []string
		for _, e := range entries {
			if !e.IsDir() {
				files = append(files, e.Name())
			}
		}
		slices.Sort(files)
		r.put(c+".path", "/"+group.dir, "file", "/proc/"+pid+"/cgroup")
		r.put(c+".files", files, "file", "/"+group.dir)
		map[string]func(*record, fs.FS, cgroup){"memory": recordMemory, "pids": recordPids, "cpu": recordCPU}[c](r, tree, group)
	}
	if seen == 0 {
		return evidence.Untestablef("no cgroup hierarchy is mounted here")
	}
	return nil
}

// unlimitedV1 is above every limit that someone set: v1 writes "no limit" as
// the highest multiple of the page size in 63 bits.
const unlimitedV1 = 1 << 62

// A root cgroup has no files for limits, because it has no limits.

func recordMemory(r *record, tree fs.FS, c cgroup) {
	limit, usage := "memory.max", "memory.current"
	if c.version == 1 {
		limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
	}
	r.put("version", c.version, "file", "/proc/PID/cgroup, /proc/self/mountinfo")
	text, ref := c.read(tree, limit)
	n, err := strconv.ParseUint(text, 10, 64)
	limited := err == nil && n < unlimitedV1
	r.put("memory.limit_file", limit, "file", ref)
	r.put("memory.limited", limited, "file", ref)
	if limited {
		r.put("memory.limit", bytesQuantity(n), "file", ref)
	}
	text, ref = c.read(tree, usage)
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		r.put("memory.usage", bytesQuantity(n), "file", ref)
	}
}

func recordPids(r *record, tree fs.FS, c cgroup) {
	text, ref := c.read(tree, "pids.max")
	n, err := strconv.Atoi(text)
	r.put("pids.limited", err == nil, "file", ref)
	if err == nil {
		r.put("pids.max", n, "file", ref)
	}
}

func recordCPU(r *record, tree fs.FS, c cgroup) {
	var quota, period, ref string
	if c.version == 1 {
		period, _ = c.read(tree, "cpu.cfs_period_us")
		quota, ref = c.read(tree, "cpu.cfs_quota_us")
	} else {
		quota, ref = c.read(tree, "cpu.max")
		quota, period, _ = strings.Cut(quota, " ")
	}
	q, errQ := strconv.Atoi(quota) // -1 in v1, max in v2
	p, errP := strconv.Atoi(period)
	limited := errQ == nil && errP == nil && q > 0 && p > 0
	r.put("cpu.limited", limited, "file", ref)
	if limited {
		r.put("cpu.limit", float64(q)/float64(p), "file", ref)
	}
	s, err := readThrottling(tree, c)
	if err != nil {
		return
	}
	ref = "/" + path.Join(c.dir, "cpu.stat")
	r.put("cpu.stat.keys", s.keys, "file", ref)
	if slices.ContainsFunc(s.keys, func(k string) bool { return strings.HasPrefix(k, "throttled_") }) {
		r.put("cpu.throttled.time", s.time, "file", ref)
	}
}
