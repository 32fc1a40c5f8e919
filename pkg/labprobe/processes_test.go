package labprobe

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	podSandbox   = "5a4d0b0c11111111"
	podContainer = "77777777aaaaaaaa"
)

// entry adds one process to a tree of /proc.
type entry struct {
	pid, parent int
	comm        string
	cmdline     []string
	cgroup      string
	exe         string
	rss, pss    int // in KiB
	seccomp     int
}

func procTree(entries ...entry) fstest.MapFS {
	tree := fstest.MapFS{"proc/meminfo": fileOf("")}
	for _, e := range entries {
		dir := fmt.Sprintf("proc/%d/", e.pid)
		tree[dir+"comm"] = fileOf(e.comm + "\n")
		tree[dir+"cmdline"] = fileOf(strings.Join(e.cmdline, "\x00") + "\x00")
		tree[dir+"cgroup"] = fileOf("0::" + e.cgroup + "\n")
		tree[dir+"exe"] = linkTo(e.exe)
		tree[dir+"ns/pid"] = linkTo(fmt.Sprintf("pid:[%d]", e.pid))
		tree[dir+"smaps_rollup"] = fileOf(fmt.Sprintf("55-7f r 00 [rollup]\nRss: %d kB\nPss:   %d kB\nPss_Dirty: 1 kB\n", e.rss, e.pss))
		tree[dir+"status"] = fileOf(fmt.Sprintf(
			"Name:\t%s\nPPid:\t%d\nThreads:\t2\nVmRSS:\t%d kB\nCapEff:\t0000000000000003\nSeccomp:\t%d\n", e.comm, e.parent, e.rss, e.seccomp))
	}
	return tree
}

var (
	systemd = entry{pid: 1, comm: "systemd", cmdline: []string{"/sbin/init"}, cgroup: "/init.scope"}
	asking  = []entry{
		{pid: 90, parent: 1, comm: "sh", cmdline: []string{"sh", "-c", "labprobe processes --id " + podSandbox}},
		{pid: 91, parent: 90, comm: "labprobe", cmdline: []string{"labprobe", "processes", "--id", podSandbox}},
	}
	other = entry{pid: 80, parent: 1, comm: "containerd-shim", cmdline: []string{"containerd-shim-runc-v2", "-id", "another"}}
	runc  = []entry{
		{pid: 10, parent: 1, comm: "containerd-shim", exe: "/usr/bin/containerd-shim-runc-v2", cmdline: []string{"/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", podSandbox}, rss: 1000, pss: 500},
		{pid: 11, parent: 10, comm: "pause", exe: "/pause", cmdline: []string{"/pause"}, cgroup: "/kubepods/" + podSandbox, rss: 100, pss: 50},
		{pid: 12, parent: 10, comm: "labprobe", exe: "/labprobe", cmdline: []string{"/labprobe", "sleep", "1h"}, cgroup: "/kubepods/" + podContainer, rss: 2048, pss: 1024, seccomp: 2},
	}
	gvisor = []entry{
		{pid: 10, parent: 1, comm: "containerd-shim", exe: "/usr/bin/containerd-shim-runsc-v1", cmdline: []string{"containerd-shim-runsc-v1", "-id", podSandbox}, rss: 1000, pss: 500},
		{pid: 11, parent: 10, comm: "exe", exe: "/usr/bin/runsc", cmdline: []string{"runsc-gofer", "--bundle", "/run/" + podSandbox}, rss: 1024, pss: 512},
		{pid: 12, parent: 1, comm: "exe", exe: "/usr/bin/runsc", cmdline: []string{"runsc-sandbox", "boot", podSandbox}, rss: 4096, pss: 2048, seccomp: 2},
		{pid: 13, parent: 12, comm: "exe", exe: "/", cmdline: []string{"stub"}, rss: 4, pss: 2}, // carries no id
	}
	wasmedge = []entry{
		{pid: 10, parent: 1, comm: "containerd-shim", exe: "/usr/bin/containerd-shim-runc-v2", cmdline: []string{"containerd-shim-runc-v2", "-id", podSandbox}},
		{pid: 12, parent: 10, comm: "wasmedge", exe: "/", cmdline: []string{"[libcrun:wasmedge]"}, cgroup: "/kubepods/" + podContainer, rss: 2048, pss: 2048},
	}
)

func TestProcessesOfAContainer(t *testing.T) {
	for _, c := range []struct {
		name string
		pod  []entry
		want map[string]any
	}{
		{"runc", runc, map[string]any{
			"count": int64(3), "comms": []string{"containerd-shim", "labprobe", "pause"},
			"exes": []string{"/labprobe", "/pause", "/usr/bin/containerd-shim-runc-v2"},
			"rss":  "3148Ki", "pss": "1574Ki",
			"shim.title": "containerd-shim-runc-v2", "shim.rss": "1000Ki", "pause.pss": "50Ki",
			"workload.count": int64(1), "workload.comms": []string{"labprobe"}, "workload.rss": "2Mi", "workload.pss": "1Mi",
			"workload.threads": int64(2), "workload.filtered": int64(1), "workload.capabilities": int64(2),
			"workload.chain":  []string{"labprobe", "containerd-shim-runc-v2", "init"},
			"workload.ns.pid": "pid:[12]", "workload.cgroups": []string{"0::/kubepods/" + podContainer},
		}},
		{"gvisor", gvisor, map[string]any{
			"count": int64(4), "comms": []string{"containerd-shim", "exe"},
			"shim.title": "containerd-shim-runsc-v1", "workload.count": int64(3),
			"workload.titles": []string{"runsc-gofer", "runsc-sandbox", "stub"},
			"workload.rss":    "5124Ki", "workload.filtered": int64(1), "pause.rss": "0",
		}},
		{"wasmedge", wasmedge, map[string]any{
			"count": int64(2), "workload.comms": []string{"wasmedge"}, "workload.titles": []string{"[libcrun:wasmedge]"},
			"shim.title": "containerd-shim-runc-v2", "workload.filtered": int64(0),
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, err := readProcesses(procTree(append(append([]entry{systemd, other}, c.pod...), asking...)...))
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"--id", podSandbox, "--id", podContainer}
			o, err := parseProcesses(args)
			if err != nil {
				t.Fatal(err)
			}
			outputs, err := processesOutputs(args)
			if err != nil {
				t.Fatal(err)
			}
			r := newRecord(outputs)
			recordProcesses(r, all, selectProcesses(all, o, 91))
			set, err := r.result()
			if err != nil {
				t.Fatal(err)
			}
			check(t, set, c.want, nil)
		})
	}
}

func TestSelectProcesses(t *testing.T) {
	all, err := readProcesses(procTree(append(append([]entry{systemd, other}, runc...), asking...)...))
	if err != nil {
		t.Fatal(err)
	}
	loop, err := readProcesses(procTree(entry{pid: 5, parent: 6, comm: "a"}, entry{pid: 6, parent: 5, comm: "b"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		all  map[int]process
		o    processesOptions
		want []int
	}{
		{"by sandbox id, with descendants", all, processesOptions{ids: []string{podSandbox}}, []int{10, 11, 12}},
		{"by container id", all, processesOptions{ids: []string{podContainer}}, []int{12}},
		{"an id that nobody has", all, processesOptions{ids: []string{"ffffffffffff"}}, nil},
		{"by pid", all, processesOptions{pid: 10}, []int{10, 11, 12}},
		{"a pid that nobody has", all, processesOptions{pid: 4711}, nil},
		{"everything but oneself", all, processesOptions{pid: 1}, []int{1, 10, 11, 12, 80, 90}},
		{"parents in a loop", loop, processesOptions{pid: 5}, []int{5, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []int
			for _, p := range selectProcesses(c.all, c.o, 91) {
				got = append(got, p.pid)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}
