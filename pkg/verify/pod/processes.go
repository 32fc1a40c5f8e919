package pod

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// process is one process of a node, as /proc shows it (proc(5)).
type process struct {
	pid, ppid int
	comm      string
	exe       string // where /proc/PID/exe points, "" for kernel threads
	argv      []string
	// cgroup is its place in the memory controller's hierarchy (v1), or in
	// the unified one (v2).
	cgroup   string
	rss, pss int64 // bytes; 0 for kernel threads
	seccomp  int64 // mode: 0 none, 1 strict, 2 filter
}

// parseProcesses reads lines of the form PID/FILE:LINE, the contents of files
// below /proc. A process that was gone before its status was read is left out.
func parseProcesses(list string) []process {
	byPID := map[int]*process{}
	for line := range strings.Lines(list) {
		file, content, ok := strings.Cut(strings.TrimRight(line, "\n"), ":")
		pidText, name, isFile := strings.Cut(file, "/")
		pid, err := strconv.Atoi(pidText)
		if !ok || !isFile || err != nil {
			continue
		}
		p := byPID[pid]
		if p == nil {
			p = &process{pid: pid}
			byPID[pid] = p
		}
		p.read(name, content)
	}
	var all []process
	for _, p := range byPID {
		if p.comm != "" {
			all = append(all, *p)
		}
	}
	slices.SortFunc(all, func(a, b process) int { return a.pid - b.pid })
	return all
}

func (p *process) read(file, content string) {
	switch file {
	case "exe":
		p.exe = strings.TrimSuffix(content, " (deleted)")
	case "cmdline":
		p.argv = append(p.argv, strings.Split(strings.TrimRight(content, "\x00"), "\x00")...)
	case "cgroup":
		id, rest, _ := strings.Cut(content, ":")
		controllers, where, _ := strings.Cut(rest, ":")
		if slices.Contains(strings.Split(controllers, ","), "memory") || id == "0" && p.cgroup == "" {
			p.cgroup = where
		}
	case "status", "smaps_rollup":
		key, value, _ := strings.Cut(content, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			p.comm = value
		case "PPid":
			p.ppid, _ = strconv.Atoi(value) // 0, no parent, where it is no number
		case "Seccomp":
			p.seccomp, _ = strconv.ParseInt(value, 10, 64) // as above: 0, none
		case "VmRSS":
			p.rss = kilobytes(value)
		case "Pss":
			p.pss = kilobytes(value)
		}
	}
}

func kilobytes(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64) // the kernel's own format
	return n << 10
}

// named says whether the process goes by a name: its comm, its executable or
// the first word of its command line.
func (p process) named(name string) bool {
	return p.comm == name || path.Base(p.exe) == name || len(p.argv) > 0 && path.Base(p.argv[0]) == name
}

// servants are the processes of a node that serve one Pod.
type servants struct {
	shim process
	main process
	// all are the shim and everything below it.
	all []process
}

// findServants finds the shim, which is the nearest ancestor of the main
// container's process that is one, and everything below it.
func findServants(s side) (servants, error) {
	byPID := map[int]process{}
	for _, p := range s.processes {
		byPID[p.pid] = p
	}
	var v servants
	var ok bool
	if v.main, ok = byPID[s.pid]; !ok {
		return v, errors.New("the main container has no process any more")
	}
	// The steps are bounded: what is read while processes come and go may
	// have a circle.
	v.shim = v.main
	for range s.processes {
		if v.shim.isShim() {
			break
		}
		v.shim = byPID[v.shim.ppid]
	}
	if !v.shim.isShim() {
		return v, fmt.Errorf("process %d (%s) is below no containerd-shim", v.main.pid, v.main.comm)
	}
	below := map[int]bool{v.shim.pid: true}
	// Parents may have higher pids than their children: repeat until no
	// process is added.
	for added := true; added; {
		added = false
		for _, p := range s.processes {
			if !below[p.pid] && below[p.ppid] {
				below[p.pid], added = true, true
			}
		}
	}
	for _, p := range s.processes {
		if below[p.pid] {
			v.all = append(v.all, p)
		}
	}
	return v, nil
}

// isShim: containerd starts shims by names of that form (runtime v2).
func (p process) isShim() bool {
	return len(p.argv) > 0 && strings.HasPrefix(path.Base(p.argv[0]), "containerd-shim-")
}

// sideOutputs declares what is seen from the node.
var sideOutputs = []evidence.Output{
	{Name: "node.runtime", Type: evidence.String, Doc: "containerd's type of the runtime, e.g. io.containerd.runc.v2"},
	{Name: "node.shim", Type: evidence.String, Doc: "the program that serves the Pod for containerd"},
	{Name: "node.process.comm", Type: evidence.String, Doc: "name of the main container's process on the node"},
	{Name: "node.process.exe", Type: evidence.String, Doc: "executable of that process, without folder"},
	{Name: "node.process.seccomp", Type: evidence.Int, Doc: "seccomp mode of that process: 0 none, 2 filter"},
	{Name: "node.process.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "resident memory of that process"},
	{Name: "node.sandbox.comm", Type: evidence.List, Doc: "names of all processes below the shim"},
	{Name: "node.sandbox.argv0", Type: evidence.List, Doc: "programs that they call themselves (argv[0] without folder), each once"},
	{Name: "node.gofer", Type: evidence.Bool, Doc: "whether gVisor's gofer is among them"},
	{Name: "node.app_visible", Type: evidence.Bool, Doc: "whether a process of the Pod is labprobe by name or executable"},
	{Name: "node.cgroup", Type: evidence.String, Doc: "cgroup of the main container's process (memory controller's, or unified)"},
	{Name: "node.cgroup.pod", Type: evidence.Bool, Doc: "whether that cgroup is the Pod's, by its UID"},
	{Name: "node.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "resident memory of the shim and all below it; shared pages count for each"},
	{Name: "node.pss", Type: evidence.Quantity, Unit: "bytes", Doc: "the same, shared pages split among those that share them"},
	{Name: "node.shim.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "resident memory of the shim alone"},
}

// app is the program in the Pods.
const app = "labprobe"

// sideValues gives what is seen from the node as evidence.
func sideValues(s side, podUID string) (evidence.Set, error) {
	v, err := findServants(s)
	if err != nil {
		return nil, err
	}
	var comms, names []string
	var rss, pss int64
	gofer, visible := false, false
	for _, p := range v.all {
		rss += p.rss
		pss += p.pss
		if p.pid == v.shim.pid {
			continue
		}
		comms = append(comms, p.comm)
		if len(p.argv) > 0 {
			names = append(names, path.Base(p.argv[0]))
		}
		gofer = gofer || p.named("runsc-gofer") || p.named("runsc") && slices.Contains(p.argv, "gofer")
		visible = visible || p.named(app)
	}
	slices.Sort(comms)
	slices.Sort(names)
	exe := v.main.exe
	if exe != "" {
		exe = path.Base(exe)
	}
	uid := func(cgroup string) bool {
		// systemd's driver writes the UID with underscores.
		return podUID != "" && (strings.Contains(cgroup, podUID) || strings.Contains(cgroup, strings.ReplaceAll(podUID, "-", "_")))
	}
	file := func(name string) evidence.Source {
		return evidence.Source{Kind: "file", Ref: fmt.Sprintf("/proc/%d/%s", v.main.pid, name)}
	}
	tree := func(name string) evidence.Source {
		return evidence.Source{Kind: "file", Ref: fmt.Sprintf("/proc/PID/%s of the shim %d and all below it", name, v.shim.pid)}
	}
	set := evidence.Set{
		{Name: "node.runtime", Value: s.runtime, Source: evidence.Source{Kind: "command", Ref: "ctr containers info"}},
		{Name: "node.shim", Value: path.Base(v.shim.argv[0]), Source: evidence.Source{Kind: "file", Ref: fmt.Sprintf("/proc/%d/cmdline", v.shim.pid)}},
		{Name: "node.process.comm", Value: v.main.comm, Source: file("comm")},
		{Name: "node.process.exe", Value: exe, Source: file("exe")},
		{Name: "node.process.seccomp", Value: v.main.seccomp, Source: file("status Seccomp")},
		{Name: "node.process.rss", Value: quantity(v.main.rss), Source: file("status VmRSS")},
		{Name: "node.sandbox.comm", Value: comms, Source: tree("comm")},
		{Name: "node.sandbox.argv0", Value: slices.Compact(names), Source: tree("cmdline")},
		{Name: "node.gofer", Value: gofer, Source: tree("cmdline")},
		{Name: "node.app_visible", Value: visible, Source: tree("{comm,exe,cmdline}")},
		{Name: "node.cgroup", Value: v.main.cgroup, Source: file("cgroup")},
		{Name: "node.cgroup.pod", Value: uid(v.main.cgroup), Source: file("cgroup")},
		{Name: "node.rss", Value: quantity(rss), Source: tree("status VmRSS")},
		{Name: "node.pss", Value: quantity(pss), Source: tree("smaps_rollup Pss")},
		{Name: "node.shim.rss", Value: quantity(v.shim.rss), Source: evidence.Source{Kind: "file", Ref: fmt.Sprintf("/proc/%d/status VmRSS", v.shim.pid)}},
	}
	for i := range set {
		o := slices.IndexFunc(sideOutputs, func(o evidence.Output) bool { return o.Name == set[i].Name })
		set[i].Type, set[i].Unit = sideOutputs[o].Type, sideOutputs[o].Unit
	}
	return set, nil
}

func quantity(bytes int64) string {
	return resource.NewQuantity(bytes, resource.BinarySI).String()
}
