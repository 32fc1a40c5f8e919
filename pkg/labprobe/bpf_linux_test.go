package labprobe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// needRoot ends a test that needs more than the user has. Where CI=true
// nothing is left out.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "needs root: network namespaces, cgroups and eBPF programs of its own"
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// evidenceOf runs a command line. Where the kernel can't show it, the test
// is left out with the command's own reason, but not where CI=true.
func evidenceOf(t *testing.T, line string) evidence.Set {
	t.Helper()
	words := strings.Fields(line)
	command, err := Lookup(words[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	set, err := command.Run(ctx, words[1:])
	var untestable *evidence.Untestable
	if errors.As(err, &untestable) && os.Getenv("CI") != "true" {
		t.Skip(untestable.Reason)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	outputs, err := command.Outputs(words[1:])
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outputs {
		if _, ok := set.Get(o.Name); !ok {
			t.Errorf("%s: declared and not measured: %s", line, o.Name)
		}
	}
	return set
}

// what reads a value as text, so that a table can hold it.
func what(set evidence.Set, name string) string {
	v, ok := set.Get(name)
	if !ok {
		return name + " is missing"
	}
	return fmt.Sprint(v.Value)
}

func number(t *testing.T, set evidence.Set, name string) int64 {
	t.Helper()
	v, _ := set.Get(name)
	n, ok := v.Value.(int64)
	if !ok {
		t.Fatalf("%s is %v, no number", name, v.Value)
	}
	return n
}

// Each command with its counter-case: the settings in which the answer turns.
func TestKernelAnswers(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		line string
		want map[string]string
	}{
		{"bpf-load", map[string]string{
			"root.loads": "true", "root.errno": "",
			"user.loads": "false", "user.errno": "EPERM",
			"bpf.loads": "false", "bpf.errno": "EPERM",
			"bpf_perfmon.loads": "true", "bpf_perfmon.errno": "",
		}},
		{"bpf-cookie", map[string]string{"equal": "true", "distinct": "true"}},
		{"conntrack-exhaust --ports 10 --flows 10", map[string]string{"connected": "10", "insert_failed": "0", "drop": "0", "client.error": ""}},
		{"conntrack-exhaust --ports 10 --flows 11", map[string]string{"connected": "10", "client.error": "timeout"}},
		{"flow-join", map[string]string{"join.client": "true", "join.server": "false", "join.conntrack": "true"}},
		{"flow-join --direct", map[string]string{"join.client": "true", "join.server": "true", "join.conntrack": "true"}},
		{"throttle-gap --quota 400ms --for 1s", map[string]string{"throttled": "0", "throttled.time": "0s"}},
	} {
		t.Run(c.line, func(t *testing.T) {
			t.Parallel()
			set := evidenceOf(t, c.line)
			for name, want := range c.want {
				if got := what(set, name); got != want {
					t.Errorf("%s is %s, want %s; all: %v", name, got, want, set)
				}
			}
		})
	}
}

// A machine that stalls sends again without a loss, too: so with loss there
// are more, and the two counters agree either way.
func TestRetransmissionsAreCountedTwice(t *testing.T) {
	needRoot(t)
	var events [2]int64
	for i, line := range []string{"bpf-retransmit --loss 0 --bytes 500000", "bpf-retransmit --loss 10 --bytes 500000"} {
		set := evidenceOf(t, line)
		events[i] = number(t, set, "events")
		if counter := number(t, set, "retrans_segs"); events[i] != counter {
			t.Errorf("%s: %d events of the tracepoint, %d by the kernel's counter", line, events[i], counter)
		}
	}
	if events[1] <= events[0] {
		t.Errorf("%d retransmissions without loss, %d with", events[0], events[1])
	}
}

func TestExhaustedPortsAreCounted(t *testing.T) {
	needRoot(t)
	set := evidenceOf(t, "conntrack-exhaust --ports 3 --flows 6")
	if number(t, set, "insert_failed") == 0 || number(t, set, "drop") == 0 || number(t, set, "connected") != 3 {
		t.Errorf("got %v", set)
	}
}

func TestThrottledProcessIsOffTheCPU(t *testing.T) {
	needRoot(t)
	set := evidenceOf(t, "throttle-gap --quota 10ms --for 1s")
	peak, _ := set.Get("offcpu.peak")
	if number(t, set, "throttled") == 0 || peak.Value.(time.Duration) == 0 {
		t.Errorf("got %v", set)
	}
}

func TestOverheadCountsEveryCall(t *testing.T) {
	needRoot(t)
	set := evidenceOf(t, "bpf-overhead --n 20000 --rounds 1")
	if events := number(t, set, "program.events"); events < 20000 {
		t.Errorf("%d events for 20000 calls", events)
	}
}

// Nothing may stay: no cgroup, and no thread may change the process's user.
func TestNothingStays(t *testing.T) {
	needRoot(t)
	before, _, _ := cgroupsLeft(t)
	evidenceOf(t, "bpf-load")
	evidenceOf(t, "throttle-gap --for 1s")
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := runThrottleGap(ctx, []string{"--for", "10s"}); err == nil {
		t.Error("an ended context gave evidence")
	}
	after, root, pattern := cgroupsLeft(t)
	if after > before {
		t.Errorf("%d cgroups %s in %s, %d before", after, pattern, root, before)
	}
	if os.Geteuid() != 0 {
		t.Error("the process isn't root any more")
	}
}

func cgroupsLeft(t *testing.T) (n int, root, pattern string) {
	t.Helper()
	_, root, ok := cpuController(readFile("/proc/self/mounts"), readFile)
	if !ok {
		t.Skip("no CPU controller")
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cpuGroupPrefix) {
			n++
		}
	}
	return n, root, cpuGroupPrefix
}

func TestCPUController(t *testing.T) {
	controllers := map[string]string{"/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io", "/sys/fs/cgroup/unified/cgroup.controllers": "hugetlb"}
	for _, c := range []struct {
		name, mounts string
		version      int
		root         string
	}{
		{"v2", "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n", 2, "/sys/fs/cgroup"},
		{"v1", "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n", 1, "/sys/fs/cgroup/cpu,cpuacct"},
		{"mixed", "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n", 1, "/sys/fs/cgroup/cpu"},
		{"none", "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /x cgroup rw,cpuacct 0 0\nbroken line\n", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			version, root, ok := cpuController(c.mounts, func(p string) string { return controllers[p] })
			if version != c.version || root != c.root || ok != (c.version != 0) {
				t.Errorf("got %d %q %v", version, root, ok)
			}
		})
	}
}

func TestTCPLoad(t *testing.T) {
	evidenceOf(t, "tcp-self --n 50 --bytes 100000 --rounds 2")

	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan int64, 1)
	go func() {
		n, err := serve(ctx, l)
		if err != nil {
			t.Error(err)
		}
		served <- n
	}()
	evidenceOf(t, "tcp-dial --n 10 --bytes 1000 --rounds 3 "+l.Addr().String())
	cancel()
	if n := <-served; n != 6 {
		t.Errorf("%d connections, want two a round", n)
	}
	// Nobody serves there now.
	if set, err := runTCPDial(context.Background(), []string{"--wait", "0s", l.Addr().String()}); err == nil {
		t.Errorf("got %v from nobody", set)
	}
}

func TestSockets(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	line := fmt.Sprintf("sockets --port %d --pid %d", port, os.Getpid())
	if got := what(evidenceOf(t, line), "listening"); got != "1" {
		t.Errorf("%s listening, want 1", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := what(evidenceOf(t, line), "sockets"); got != "0" {
		t.Errorf("%s sockets after the listener closed", got)
	}
	if set, err := runSockets(context.Background(), []string{"--port", "1", "--pid", "2147483647"}); err == nil {
		t.Errorf("a process that doesn't exist gave %v", set)
	}

	// A socket in a namespace of its own is found without knowing a process
	// only while a process is in it; the listener's own namespace is ours.
	needRoot(t)
	n, err := newNetwork()
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	hidden, err := in(n.server, func() (net.Listener, error) { return net.Listen("tcp4", serverIP.String()+":0") })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hidden.Close() }()
	line = fmt.Sprintf("sockets --port %d --pid %d", hidden.Addr().(*net.TCPAddr).Port, os.Getpid())
	if got := what(evidenceOf(t, line), "sockets"); got != "0" {
		t.Errorf("%s sockets of another network namespace", got)
	}
}

// /proc/self is the main thread: it may never be the one that changes.
func TestOnThreadSparesTheMainThread(t *testing.T) {
	for range 1000 {
		tid, err := onThread(func() (int, error) { return unix.Gettid(), nil })
		if err != nil || tid == os.Getpid() {
			t.Fatalf("ran on thread %d of process %d: %v", tid, os.Getpid(), err)
		}
	}
}
