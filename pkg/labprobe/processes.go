package labprobe

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// nodeCommands look at other processes from a node's or host's side.
var nodeCommands = []Command{
	{
		Name: "processes", Usage: "--id ID [--id ID…] | --pid P", Doc: "the processes that serve a container: shim, sandbox, gofer, program; their memory",
		Outputs: processesOutputs, Run: linuxOnly(runProcesses),
	},
	{
		Name: "cgroup", Usage: "[--pid P]", Doc: "a process's cgroup: version, limits, which control files exist",
		Outputs: cgroupOutputs, Run: linuxOnly(runCgroup),
	},
}

// linuxOnly keeps a command from places without a /proc of their own.
func linuxOnly(run func(context.Context, []string) (evidence.Set, error)) func(context.Context, []string) (evidence.Set, error) {
	if runtime.GOOS != "linux" {
		return nil
	}
	return run
}

type processesOptions struct {
	ids []string
	pid int
}

func parseProcesses(args []string) (processesOptions, error) {
	var o processesOptions
	f := newFlags()
	f.Func("id", "id of a container or of its sandbox", func(s string) error {
		if len(s) < 8 {
			return fmt.Errorf("an id of %d characters would match too much", len(s))
		}
		o.ids = append(o.ids, s)
		return nil
	})
	f.IntVar(&o.pid, "pid", 0, "a process; with its descendants")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if (len(o.ids) == 0) == (o.pid == 0) || o.pid < 0 {
		return o, fmt.Errorf("processes wants --id ID or --pid P")
	}
	return o, nil
}

func processesOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseProcesses(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "count", Type: evidence.Int, Unit: "count", Doc: "processes found, the shim among them"},
		{Name: "comms", Type: evidence.List, Doc: "their names (/proc/PID/comm), sorted, each once"},
		{Name: "titles", Type: evidence.List, Doc: "first words of their command lines without folders, sorted, each once; gVisor's processes all have the comm exe"},
		{Name: "exes", Type: evidence.List, Doc: "their executables, sorted, each once"},
		{Name: "rss", Type: evidence.Quantity, Unit: "bytes", Doc: "resident memory of all"},
		{Name: "pss", Type: evidence.Quantity, Unit: "bytes", Doc: "proportional memory of all: shared pages divided by their users"},

		{Name: "shim.title", Type: evidence.String, Doc: "name of the containerd shim; empty for none"},
		{Name: "shim.exe", Type: evidence.String, Doc: "its executable; empty for none"},
		{Name: "shim.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "its resident memory"},
		{Name: "shim.pss", Type: evidence.Quantity, Unit: "bytes", Doc: "its proportional memory"},
		{Name: "pause.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "resident memory of the Pod's pause process"},
		{Name: "pause.pss", Type: evidence.Quantity, Unit: "bytes", Doc: "its proportional memory"},

		{Name: "workload.count", Type: evidence.Int, Unit: "count", Doc: "processes other than shim and pause"},
		{Name: "workload.comms", Type: evidence.List, Doc: "their names, sorted, each once"},
		{Name: "workload.titles", Type: evidence.List, Doc: "first words of their command lines, sorted, each once"},
		{Name: "workload.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "their resident memory"},
		{Name: "workload.pss", Type: evidence.Quantity, Unit: "bytes", Doc: "their proportional memory"},
		{Name: "workload.threads", Type: evidence.Int, Unit: "count", Doc: "their threads"},
		{Name: "workload.filtered", Type: evidence.Int, Unit: "count", Doc: "how many of them run under a seccomp filter"},
		{Name: "workload.capabilities", Type: evidence.Int, Unit: "count", Doc: "effective capabilities of the first of them"},
		{Name: "workload.chain", Type: evidence.List, Doc: "the first of them and its ancestors up to process 1, by first word of the command line"},
		{Name: "workload.ns.pid", Type: evidence.String, Doc: "its PID namespace"},
		{Name: "workload.ns.net", Type: evidence.String, Doc: "its network namespace"},
		{Name: "workload.ns.user", Type: evidence.String, Doc: "its user namespace"},
		{Name: "workload.cgroups", Type: evidence.List, Doc: "its /proc/PID/cgroup"},
	}, nil
}

// process is what /proc tells about one.
type process struct {
	pid, parent  int
	comm         string
	title        string // base name of argv[0]
	cmdline      string // arguments joined by spaces
	exe          string
	cgroups      []string
	threads      int
	rss, pss     uint64
	filtered     bool
	capEffective string
	pidNS, netNS string
	userNS       string
}

func runProcesses(_ context.Context, args []string) (evidence.Set, error) {
	o, err := parseProcesses(args)
	if err != nil {
		return nil, err
	}
	outputs, err := processesOutputs(args)
	if err != nil {
		return nil, err
	}
	all, err := readProcesses(root())
	if err != nil {
		return nil, err
	}
	found := selectProcesses(all, o, os.Getpid())
	if len(found) == 0 {
		return nil, fmt.Errorf("no process belongs to %s", cmp.Or(strings.Join(o.ids, ", "), strconv.Itoa(o.pid)))
	}
	r := newRecord(outputs)
	recordProcesses(r, all, found)
	return r.result()
}

// readProcesses reads /proc; processes that end meanwhile are left out.
func readProcesses(tree fs.FS) (map[int]process, error) {
	pids, err := processIDs(tree)
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, pid := range pids {
		if p, ok := readProcess(tree, pid); ok {
			all[pid] = p
		}
	}
	return all, nil
}

func readProcess(tree fs.FS, pid int) (process, bool) {
	dir := path.Join("proc", strconv.Itoa(pid))
	status, err := readText(tree, path.Join(dir, "status"))
	if err != nil {
		return process{}, false
	}
	fields := statusFields(status)
	p := process{pid: pid, comm: fields["Name"], capEffective: fields["CapEff"], filtered: fields["Seccomp"] == "2"}
	p.parent, _ = strconv.Atoi(fields["PPid"])
	p.threads, _ = strconv.Atoi(fields["Threads"])
	p.rss, _ = kilobytes(fields["VmRSS"])
	if comm, err := readText(tree, path.Join(dir, "comm")); err == nil {
		p.comm = comm // unescaped
	}
	if b, err := fs.ReadFile(tree, path.Join(dir, "cmdline")); err == nil {
		argv := strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		p.title, p.cmdline = path.Base(argv[0]), strings.Join(argv, " ")
	}
	if p.cmdline == "" {
		p.title = p.comm // a kernel thread, or a zombie
	}
	if b, err := fs.ReadFile(tree, path.Join(dir, "cgroup")); err == nil {
		p.cgroups = lines(b)
	}
	if rollup, err := readText(tree, path.Join(dir, "smaps_rollup")); err == nil {
		p.pss, _ = kilobytes(statusFields(rollup)["Pss"])
	}
	p.exe, _ = fs.ReadLink(tree, path.Join(dir, "exe"))
	p.pidNS, _ = fs.ReadLink(tree, path.Join(dir, "ns/pid"))
	p.netNS, _ = fs.ReadLink(tree, path.Join(dir, "ns/net"))
	p.userNS, _ = fs.ReadLink(tree, path.Join(dir, "ns/user"))
	return p, true
}

// selectProcesses finds a process or those whose cgroup or command line holds
// an id, with all their descendants: a sandbox's own children carry no id. This
// process and its ancestors are never meant by an id: their command lines
// hold it because they ask for it.
func selectProcesses(all map[int]process, o processesOptions, self int) []process {
	asking := map[int]bool{}
	for pid := self; pid > 0 && !asking[pid]; pid = all[pid].parent {
		asking[pid] = true
	}
	named := func(p process) bool {
		if o.pid != 0 {
			return p.pid == o.pid
		}
		haystack := p.cmdline + "\n" + strings.Join(p.cgroups, "\n")
		return !asking[p.pid] && slices.ContainsFunc(o.ids, func(id string) bool { return strings.Contains(haystack, id) })
	}
	var found []process
	for _, p := range all {
		if p.pid != self && slices.ContainsFunc(lineage(all, p), named) {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return found
}

// lineage is a process and its ancestors, up to process 1. What was read from
// a changing /proc may hold a loop, which ends it.
func lineage(all map[int]process, p process) []process {
	chain := []process{p}
	for seen := map[int]bool{p.pid: true}; p.parent != 0 && !seen[p.parent]; {
		parent, ok := all[p.parent]
		if !ok {
			break
		}
		p = parent
		seen[p.pid] = true
		chain = append(chain, p)
	}
	return chain
}

func isShim(p process) bool  { return strings.HasPrefix(p.title, "containerd-shim") }
func isPause(p process) bool { return p.title == "pause" }

func recordProcesses(r *record, all map[int]process, found []process) {
	texts := func(name string, ps []process, text func(process) string) {
		var out []string
		for _, p := range ps {
			if t := text(p); t != "" {
				out = append(out, t)
			}
		}
		slices.Sort(out)
		r.put(name, slices.Compact(out), "file", "/proc/PID")
	}
	memory := func(prefix string, ps []process) {
		var rss, pss uint64
		for _, p := range ps {
			rss, pss = rss+p.rss, pss+p.pss
		}
		r.put(prefix+"rss", bytesQuantity(rss), "file", "/proc/PID/status VmRSS")
		r.put(prefix+"pss", bytesQuantity(pss), "file", "/proc/PID/smaps_rollup Pss")
	}
	comm := func(p process) string { return p.comm }
	title := func(p process) string { return p.title }

	r.put("count", len(found), "file", "/proc")
	texts("comms", found, comm)
	texts("titles", found, title)
	texts("exes", found, func(p process) string { return p.exe })
	memory("", found)

	var shims, pauses, workload []process
	for _, p := range found {
		switch {
		case isShim(p):
			shims = append(shims, p)
		case isPause(p):
			pauses = append(pauses, p)
		default:
			workload = append(workload, p)
		}
	}
	var shim process
	if len(shims) > 0 {
		shim = shims[0]
	}
	r.put("shim.title", shim.title, "file", "/proc/PID/cmdline")
	r.put("shim.exe", shim.exe, "file", "/proc/PID/exe")
	memory("shim.", shims)
	memory("pause.", pauses)

	r.put("workload.count", len(workload), "file", "/proc")
	texts("workload.comms", workload, comm)
	texts("workload.titles", workload, title)
	memory("workload.", workload)
	threads, filtered := 0, 0
	for _, p := range workload {
		threads += p.threads
		if p.filtered {
			filtered++
		}
	}
	r.put("workload.threads", threads, "file", "/proc/PID/status Threads")
	r.put("workload.filtered", filtered, "file", "/proc/PID/status Seccomp")
	if len(workload) == 0 {
		return
	}
	first := workload[0]
	ref := fmt.Sprintf("/proc/%d", first.pid)
	r.put("workload.capabilities", countCapabilities(first.capEffective), "file", ref+"/status CapEff")
	var chain []string
	for _, p := range lineage(all, first) {
		chain = append(chain, p.title)
	}
	r.put("workload.chain", chain, "file", "/proc/PID/status PPid")
	r.put("workload.ns.pid", first.pidNS, "file", ref+"/ns/pid")
	r.put("workload.ns.net", first.netNS, "file", ref+"/ns/net")
	r.put("workload.ns.user", first.userNS, "file", ref+"/ns/user")
	r.put("workload.cgroups", first.cgroups, "file", ref+"/cgroup")
}
