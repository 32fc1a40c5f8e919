package labprobe

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"math/bits"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// identityCommands say what a process can learn about the kernel it runs on
// and about its own confinement.
var identityCommands = []Command{{
	Name: "identity", Doc: "the kernel, the namespaces and the confinement that a process sees",
	Outputs: noArgs(identityOutputs...), Run: runIdentity,
}}

// identityOutputs: what a place doesn't show (WASI without a preopened root
// shows hardly anything) is absent from the evidence.
var identityOutputs = []evidence.Output{
	{Name: "go.os", Type: evidence.String, Doc: "GOOS that labprobe was built for"},
	{Name: "go.arch", Type: evidence.String, Doc: "GOARCH that labprobe was built for"},
	{Name: "pid", Type: evidence.Int, Doc: "own process id"},
	{Name: "uid", Type: evidence.Int, Doc: "own real user id"},
	{Name: "uid.map", Type: evidence.List, Doc: "user namespace's map: inside, outside, count"},
	{Name: "hostname", Type: evidence.String, Doc: "host name"},

	{Name: "kernel.release", Type: evidence.String, Doc: "release that uname(2) gives"},
	{Name: "kernel.version", Type: evidence.String, Doc: "version (build) that uname(2) gives"},
	{Name: "kernel.proc_version", Type: evidence.String, Doc: "/proc/version"},
	{Name: "kernel.cmdline", Type: evidence.String, Doc: "/proc/cmdline"},
	{Name: "kernel.boot_id", Type: evidence.String, Doc: "random id of this boot"},
	{Name: "kernel.modules", Type: evidence.Bool, Doc: "whether /proc/modules exists"},

	{Name: "dmesg.readable", Type: evidence.Bool, Doc: "whether syslog(2) gives the kernel's log"},
	{Name: "dmesg.text", Type: evidence.String, Doc: "first lines of the kernel's log; empty where not readable"},

	{Name: "proc.count", Type: evidence.Int, Unit: "count", Doc: "processes visible in /proc"},
	{Name: "proc.comms", Type: evidence.List, Doc: "their names, sorted, each once"},
	{Name: "proc.first", Type: evidence.String, Doc: "name of process 1"},

	{Name: "ns.count", Type: evidence.Int, Unit: "count", Doc: "kinds of namespaces in /proc/self/ns (without the …_for_children links)"},
	{Name: "ns.kinds", Type: evidence.List, Doc: "those kinds"},
	{Name: "ns.cgroup", Type: evidence.String, Doc: "id of the cgroup namespace"},
	{Name: "ns.ipc", Type: evidence.String, Doc: "id of the IPC namespace"},
	{Name: "ns.mnt", Type: evidence.String, Doc: "id of the mount namespace"},
	{Name: "ns.net", Type: evidence.String, Doc: "id of the network namespace"},
	{Name: "ns.pid", Type: evidence.String, Doc: "id of the PID namespace"},
	{Name: "ns.time", Type: evidence.String, Doc: "id of the time namespace"},
	{Name: "ns.user", Type: evidence.String, Doc: "id of the user namespace"},
	{Name: "ns.uts", Type: evidence.String, Doc: "id of the UTS namespace"},

	{Name: "cap.effective", Type: evidence.String, Doc: "effective capabilities, hexadecimal"},
	{Name: "cap.effective.count", Type: evidence.Int, Unit: "count", Doc: "how many"},
	{Name: "cap.bounding", Type: evidence.String, Doc: "bounding set, hexadecimal"},
	{Name: "cap.bounding.count", Type: evidence.Int, Unit: "count", Doc: "how many"},
	{Name: "cap.last", Type: evidence.Int, Doc: "highest capability that the kernel knows, counted from 0"},
	{Name: "seccomp.mode", Type: evidence.Int, Doc: "0 none, 1 strict, 2 filter"},
	{Name: "seccomp.filters", Type: evidence.Int, Unit: "count", Doc: "installed filters"},
	{Name: "no_new_privs", Type: evidence.Bool, Doc: "whether execve(2) can't gain privileges"},

	{Name: "net.interfaces", Type: evidence.List, Doc: "names of the network interfaces"},
	{Name: "net.sysctls", Type: evidence.Int, Unit: "count", Doc: "files directly in /proc/sys/net/ipv4, a fingerprint of the network stack"},
	{Name: "mounts.count", Type: evidence.Int, Unit: "count", Doc: "mounts in the mount namespace"},
	{Name: "mounts.types", Type: evidence.List, Doc: "their file system types, sorted, each once"},
	{Name: "rootfs.type", Type: evidence.String, Doc: "file system type of /"},
	{Name: "cgroup.paths", Type: evidence.List, Doc: "/proc/self/cgroup: hierarchy:controllers:path"},
	{Name: "filesystems.count", Type: evidence.Int, Unit: "count", Doc: "file system types that the kernel knows"},
}

func runIdentity(context.Context, []string) (evidence.Set, error) {
	r := newRecord(identityOutputs)
	r.put("go.os", runtime.GOOS, "program", "runtime.GOOS")
	r.put("go.arch", runtime.GOARCH, "program", "runtime.GOARCH")
	identityFromKernel(r)
	identityFromFiles(r, root())
	return r.result()
}

// identityFromFiles reads what /proc of a tree says.
func identityFromFiles(r *record, tree fs.FS) {
	r.file(tree, "kernel.proc_version", "proc/version")
	r.file(tree, "kernel.cmdline", "proc/cmdline")
	r.file(tree, "kernel.boot_id", "proc/sys/kernel/random/boot_id")
	if exists(tree, "proc/self") {
		r.put("kernel.modules", exists(tree, "proc/modules"), "file", "/proc/modules")
	}
	identityProcesses(r, tree)
	identityNamespaces(r, tree)
	identityStatus(r, tree)
	identityTables(r, tree)
}

func identityProcesses(r *record, tree fs.FS) {
	pids, err := processIDs(tree)
	if err != nil || len(pids) == 0 {
		return
	}
	r.put("proc.count", len(pids), "file", "/proc")
	var comms []string
	for _, pid := range pids {
		// A process may end between the two reads.
		if comm, err := readText(tree, fmt.Sprintf("proc/%d/comm", pid)); err == nil {
			comms = append(comms, comm)
		}
	}
	slices.Sort(comms)
	r.put("proc.comms", slices.Compact(comms), "file", "/proc/*/comm")
	r.file(tree, "proc.first", "proc/1/comm")
}

func identityNamespaces(r *record, tree fs.FS) {
	const dir = "proc/self/ns"
	entries, err := fs.ReadDir(tree, dir)
	if err != nil {
		return
	}
	var kinds []string
	for _, e := range entries {
		kind := e.Name()
		if strings.HasSuffix(kind, "_for_children") {
			continue
		}
		kinds = append(kinds, kind)
		if !r.declares("ns." + kind) {
			continue // a kind that a later kernel brings
		}
		if id, err := fs.ReadLink(tree, path.Join(dir, kind)); err == nil {
			r.put("ns."+kind, id, "file", "/"+path.Join(dir, kind))
		}
	}
	r.put("ns.count", len(kinds), "file", "/"+dir)
	r.put("ns.kinds", kinds, "file", "/"+dir)
}

// identityStatus reads /proc/self/status; proc_pid_status(5) has the fields.
func identityStatus(r *record, tree fs.FS) {
	const file = "proc/self/status"
	status, err := readText(tree, file)
	if err != nil {
		return
	}
	fields := statusFields(status)
	number := func(name, field string) {
		if n, err := strconv.Atoi(cmp.Or(firstField(fields[field]), "-")); err == nil {
			r.put(name, n, "file", "/"+file+" "+field)
		}
	}
	caps := func(name, field string) {
		if mask, ok := fields[field]; ok {
			r.put(name, mask, "file", "/"+file+" "+field)
			r.put(name+".count", countCapabilities(mask), "file", "/"+file+" "+field)
		}
	}
	number("uid", "Uid")
	caps("cap.effective", "CapEff")
	caps("cap.bounding", "CapBnd")
	number("seccomp.mode", "Seccomp")
	number("seccomp.filters", "Seccomp_filters")
	if nnp, ok := fields["NoNewPrivs"]; ok {
		r.put("no_new_privs", nnp == "1", "file", "/"+file+" NoNewPrivs")
	}
	if last, err := readText(tree, "proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(last); err == nil {
			r.put("cap.last", n, "file", "/proc/sys/kernel/cap_last_cap")
		}
	}
}

func identityTables(r *record, tree fs.FS) {
	if b, err := fs.ReadFile(tree, "proc/net/dev"); err == nil {
		r.put("net.interfaces", netDevices(b), "file", "/proc/net/dev")
	}
	if entries, err := fs.ReadDir(tree, "proc/sys/net/ipv4"); err == nil {
		files := slices.DeleteFunc(entries, fs.DirEntry.IsDir)
		r.put("net.sysctls", len(files), "file", "/proc/sys/net/ipv4")
	}
	if b, err := fs.ReadFile(tree, "proc/self/mountinfo"); err == nil {
		mounts := parseMountinfo(b)
		var types []string
		for _, m := range mounts {
			types = append(types, m.fsType)
			if m.point == "/" { // the last one on / covers the others
				r.replace("rootfs.type", m.fsType, "file", "/proc/self/mountinfo")
			}
		}
		slices.Sort(types)
		r.put("mounts.count", len(mounts), "file", "/proc/self/mountinfo")
		r.put("mounts.types", slices.Compact(types), "file", "/proc/self/mountinfo")
	}
	if b, err := fs.ReadFile(tree, "proc/self/cgroup"); err == nil {
		r.put("cgroup.paths", lines(b), "file", "/proc/self/cgroup")
	}
	if b, err := fs.ReadFile(tree, "proc/filesystems"); err == nil {
		r.put("filesystems.count", len(lines(b)), "file", "/proc/filesystems")
	}
	if uidMap, err := fs.ReadFile(tree, "proc/self/uid_map"); err == nil {
		var entries []string
		for _, l := range lines(uidMap) {
			entries = append(entries, strings.Join(strings.Fields(l), " "))
		}
		r.put("uid.map", entries, "file", "/proc/self/uid_map")
	}
}

// countCapabilities counts the bits of a hexadecimal mask, 0 for nonsense.
func countCapabilities(mask string) int {
	n, err := strconv.ParseUint(mask, 16, 64)
	if err != nil {
		return 0
	}
	return bits.OnesCount64(n)
}

// netDevices lists the interfaces of a /proc/net/dev table, sorted.
func netDevices(table []byte) []string {
	var names []string
	for _, l := range lines(table) {
		if name, _, ok := strings.Cut(l, ":"); ok { // the heads have |, not :
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return names
}

type mount struct{ point, fsType, source string }

// parseMountinfo reads proc_pid_mountinfo(5): optional fields end with " - ".
func parseMountinfo(b []byte) []mount {
	var mounts []mount
	for _, l := range lines(b) {
		head, tail, ok := strings.Cut(l, " - ")
		h, t := strings.Fields(head), strings.Fields(tail)
		if !ok || len(h) < 5 || len(t) < 2 {
			continue
		}
		mounts = append(mounts, mount{point: h[4], fsType: t[0], source: t[1]})
	}
	return mounts
}

// statusFields splits "Name:\tvalue" lines.
func statusFields(status string) map[string]string {
	fields := map[string]string{}
	for _, l := range lines([]byte(status)) {
		if name, value, ok := strings.Cut(l, ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// processIDs lists the numeric entries of /proc, in order.
func processIDs(tree fs.FS) ([]int, error) {
	entries, err := fs.ReadDir(tree, "proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

func exists(tree fs.FS, name string) bool {
	_, err := fs.Stat(tree, name)
	return err == nil
}

// readText reads a small file without its final line end.
func readText(tree fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(tree, name)
	return strings.TrimRight(string(b), "\n"), err
}

func firstField(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\t")
	return first
}

// lines splits text, without empty lines.
func lines(b []byte) []string {
	var out []string
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, len(b)+1)
	for s.Scan() {
		if l := s.Text(); strings.TrimSpace(l) != "" {
			out = append(out, l)
		}
	}
	return out
}
