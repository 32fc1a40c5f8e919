package labprobe

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// bpfCommands measure with eBPF programs of their own, assembled here, so
// that no compiler is needed. They need root (or CAP_BPF, CAP_PERFMON and
// CAP_NET_ADMIN) on the node or the host, and remove what they attach.
var bpfCommands = []Command{
	{
		Name: "bpf-load", Usage: "[--uid UID]",
		Doc:     "who may load a tracing program: root, a user, a user with CAP_BPF, a user with CAP_BPF and CAP_PERFMON",
		Outputs: bpfLoadOutputs, Run: runBPFLoad,
	},
	{
		Name:    "bpf-verify",
		Doc:     "what the verifier takes: an access within and beyond a map's value, an unchecked pointer, a loop that ends and one that doesn't",
		Outputs: bpfVerifyOutputs, Run: runBPFVerify,
	},
	{
		Name: "bpf-overhead", Usage: "[--n N] [--rounds R]",
		Doc:     "what a program on the tracepoint of getpid costs a call",
		Outputs: bpfOverheadOutputs, Exclusive: true, Run: runBPFOverhead,
	},
	{
		Name: "bpf-retransmit", Usage: "[--loss PERCENT] [--bytes N]",
		Doc:     "TCP through a router that loses packets: tracepoint tcp_retransmit_skb beside the kernel's own counter",
		Outputs: bpfRetransmitOutputs, Run: runBPFRetransmit,
	},
	{
		Name:    "bpf-cookie",
		Doc:     "the socket cookie that the application reads beside the one that a program in the kernel sees",
		Outputs: bpfCookieOutputs, Run: runBPFCookie,
	},
	{
		Name: "throttle-gap", Usage: "[--quota D] [--period D] [--for D]",
		Doc:     "a spinning process under a CPU quota: throttled periods, and how long it is off the CPU (sched_switch)",
		Outputs: throttleGapOutputs, Exclusive: true, Run: runThrottleGap,
	},
	{
		Name: "burn", Usage: "[--for D]",
		Doc:     "spins in its own cgroup; units of 10 ms of CPU time and the gaps between its moments on the CPU",
		Outputs: burnOutputs, Exclusive: true, Run: runBurn,
	},
}

// parse reads the flags that define declares; there are no other arguments.
func parse(args []string, define func(*flag.FlagSet)) error {
	f := newFlags()
	define(f)
	return parseFlags(f, args)
}

// bpfUsers are who bpf-load tries it as, by the prefix of their evidence.
var bpfUsers = []struct {
	name, doc string
	// capabilities by their names without CAP_; nil means the caller's own.
	user         bool
	capabilities []string
}{
	{name: "root", doc: "the caller (root)"},
	{name: "user", doc: "a user without capabilities", user: true},
	{name: "bpf", doc: "a user with CAP_BPF alone", user: true, capabilities: []string{"BPF"}},
	{name: "bpf_perfmon", doc: "a user with CAP_BPF and CAP_PERFMON", user: true, capabilities: []string{"BPF", "PERFMON"}},
}

type bpfLoadParams struct{ uid int }

func parseBPFLoad(args []string) (p bpfLoadParams, err error) {
	err = parse(args, func(f *flag.FlagSet) { f.IntVar(&p.uid, "uid", 1000, "") })
	if err == nil && p.uid <= 0 {
		err = fmt.Errorf("--uid %d: want a user that isn't root", p.uid)
	}
	return p, err
}

func bpfLoadOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseBPFLoad(args); err != nil {
		return nil, err
	}
	outputs := []evidence.Output{
		{Name: "unprivileged_bpf_disabled", Type: evidence.Int, Doc: "the sysctl: 0 allows users some programs, 1 and 2 none"},
	}
	for _, u := range bpfUsers {
		outputs = append(outputs,
			evidence.Output{Name: u.name + ".loads", Type: evidence.Bool, Doc: "the kernel takes a tracing program from " + u.doc},
			evidence.Output{Name: u.name + ".errno", Type: evidence.String, Doc: "the error's name, empty where it loads"},
		)
	}
	return outputs, nil
}

// verifiedKind is a program that bpf-verify offers to the verifier.
type verifiedKind struct{ name, doc string }

var verifiedKinds = []verifiedKind{
	{"within", "a read of 8 bytes at offset 0 of a map's value of 8 bytes"},
	{"beyond", "the same at offset 8"},
	{"unchecked", "the same at offset 0 without a check for the null pointer"},
	{"bounded", "a loop of 10 rounds"},
	{"endless", "the same loop whose counter stays 0"},
}

func bpfVerifyOutputs(args []string) ([]evidence.Output, error) {
	var outputs []evidence.Output
	for _, k := range verifiedKinds {
		outputs = append(outputs,
			evidence.Output{Name: k.name + ".loads", Type: evidence.Bool, Doc: "the kernel takes " + k.doc},
			evidence.Output{Name: k.name + ".errno", Type: evidence.String, Doc: "the error's name, empty where it loads"},
			evidence.Output{Name: k.name + ".log", Type: evidence.String, Doc: "the verifier's reason, empty where it loads"},
		)
	}
	return noArgs(outputs...)(args)
}

// reason is what a verifier's log says after the last instruction that it
// looked at, without its figures and states.
func reason(log []string) string {
	var said []string
	for _, line := range slices.Backward(log) {
		if line != "" && line[0] >= '0' && line[0] <= '9' {
			break
		}
		word, _, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"", "processed", "verification", "stack", "cur", "old"}, word) {
			said = append(said, line)
		}
	}
	slices.Reverse(said)
	return strings.Join(said, "; ")
}

type bpfOverheadParams struct{ n, rounds int }

func parseBPFOverhead(args []string) (p bpfOverheadParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.IntVar(&p.n, "n", 1_000_000, "")
		f.IntVar(&p.rounds, "rounds", 5, "")
	})
	if err == nil && (p.n < 1000 || p.rounds < 1) {
		err = fmt.Errorf("want at least 1000 calls and 1 round, got --n %d --rounds %d", p.n, p.rounds)
	}
	return p, err
}

func bpfOverheadOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseBPFOverhead(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "bare", Type: evidence.Double, Unit: "ns/op", Doc: "getpid without the program, median of the rounds"},
		{Name: "traced", Type: evidence.Double, Unit: "ns/op", Doc: "getpid with the program attached, median of the rounds"},
		{Name: "overhead", Type: evidence.Duration, Doc: "traced minus bare: what an event costs the application"},
		{Name: "overhead.ratio", Type: evidence.Double, Unit: "1", Doc: "traced divided by bare"},
		{Name: "program", Type: evidence.Duration, Doc: "run time of the program itself an event, by the kernel's bpf_stats"},
		{Name: "program.ns", Type: evidence.Double, Unit: "ns/op", Doc: "the same with its fractions"},
		{Name: "program.events", Type: evidence.Int, Unit: "count", Doc: "how often the program ran while bpf_stats were on"},
		{Name: "calls", Type: evidence.Int, Unit: "count", Doc: "calls made while bpf_stats were on"},
		{Name: "noise", Type: evidence.Double, Unit: "1", Doc: "how far the median of the bare rounds lies from the best, in parts of the best"},
	}, nil
}

type bpfRetransmitParams struct {
	loss  int
	bytes int64
}

func parseBPFRetransmit(args []string) (p bpfRetransmitParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.IntVar(&p.loss, "loss", 10, "")
		f.Int64Var(&p.bytes, "bytes", 1<<20, "")
	})
	if err == nil && (p.loss < 0 || p.loss > 50 || p.bytes < 1) {
		err = fmt.Errorf("want a loss of 0 to 50 percent and at least 1 byte, got --loss %d --bytes %d", p.loss, p.bytes)
	}
	return p, err
}

func bpfRetransmitOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseBPFRetransmit(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "events", Type: evidence.Int, Unit: "count", Doc: "tcp_retransmit_skb events whose dport field is the server's port"},
		{Name: "retrans_segs", Type: evidence.Int, Unit: "count", Doc: "TcpRetransSegs of the sender's network namespace"},
		{Name: "out_segs", Type: evidence.Int, Unit: "count", Doc: "TcpOutSegs of the sender's network namespace"},
		{Name: "port", Type: evidence.Int, Doc: "the server's port"},
		{Name: "bytes", Type: evidence.Int, Unit: "bytes", Doc: "bytes that arrived"},
	}, nil
}

func bpfCookieOutputs(args []string) ([]evidence.Output, error) {
	return noArgs(
		evidence.Output{Name: "app", Type: evidence.Int, Doc: "SO_COOKIE of a connection, read by the application"},
		evidence.Output{Name: "kernel", Type: evidence.Int, Doc: "bpf_get_socket_cookie for the same ports, seen by a program on inet_sock_set_state"},
		evidence.Output{Name: "equal", Type: evidence.Bool, Doc: "the two are the same"},
		evidence.Output{Name: "other.app", Type: evidence.Int, Doc: "SO_COOKIE of a second connection to the same server"},
		evidence.Output{Name: "other.kernel", Type: evidence.Int, Doc: "what the program saw for the second connection"},
		evidence.Output{Name: "distinct", Type: evidence.Bool, Doc: "the two connections have different cookies"},
	)(args)
}

type throttleGapParams struct{ quota, period, length time.Duration }

func parseThrottleGap(args []string) (p throttleGapParams, err error) {
	err = parse(args, func(f *flag.FlagSet) {
		f.DurationVar(&p.quota, "quota", 20*time.Millisecond, "")
		f.DurationVar(&p.period, "period", 100*time.Millisecond, "")
		f.DurationVar(&p.length, "for", 3*time.Second, "")
	})
	switch {
	case err != nil:
	case p.quota < time.Millisecond || p.period < time.Millisecond || p.period > time.Second:
		// limits of Documentation/scheduler/sched-bwc.rst
		err = fmt.Errorf("--quota %v --period %v: the kernel takes quotas from 1ms and periods from 1ms to 1s", p.quota, p.period)
	case p.length < 5*p.period || p.length > time.Minute:
		err = fmt.Errorf("--for %v: want at least 5 periods (%v) and at most 1m", p.length, 5*p.period)
	}
	return p, err
}

func throttleGapOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseThrottleGap(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "cgroup.version", Type: evidence.Int, Doc: "1 or 2: whose CPU controller it is"},
		{Name: "periods", Type: evidence.Int, Unit: "count", Doc: "nr_periods of cpu.stat"},
		{Name: "throttled", Type: evidence.Int, Unit: "count", Doc: "nr_throttled of cpu.stat"},
		{Name: "throttled.time", Type: evidence.Duration, Doc: "throttled_usec (throttled_time on cgroup v1) of cpu.stat"},
		{Name: "offcpu.peak", Type: evidence.Duration, Doc: "lower bound of the 10 ms bucket that holds most of the time off the CPU; events of sched_switch where the process still wanted to run"},
		{Name: "offcpu.max", Type: evidence.Duration, Doc: "lower bound of the highest bucket that isn't empty"},
		{Name: "offcpu.events", Type: evidence.Int, Unit: "count", Doc: "how often it was taken off the CPU for 1 ms or more"},
		{Name: "offcpu.histogram", Type: evidence.List, Doc: "buckets of 10 ms that aren't empty, as FROM:COUNT"},
		{Name: "work.p50", Type: evidence.Duration, Doc: "how long 10 ms of CPU time took, median"},
		{Name: "work.p95", Type: evidence.Duration, Doc: "how long 10 ms of CPU time took, 95th percentile"},
		{Name: "share", Type: evidence.Double, Unit: "1", Doc: "CPU time divided by time"},
	}, nil
}

type burnParams struct{ length time.Duration }

func parseBurn(args []string) (p burnParams, err error) {
	err = parse(args, func(f *flag.FlagSet) { f.DurationVar(&p.length, "for", 3*time.Second, "") })
	if err == nil && (p.length < 100*time.Millisecond || p.length > 10*time.Minute) {
		err = fmt.Errorf("--for %v: want 100ms to 10m", p.length)
	}
	return p, err
}

func burnOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseBurn(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "work.p50", Type: evidence.Duration, Doc: "how long 10 ms of CPU time took, median"},
		{Name: "work.p95", Type: evidence.Duration, Doc: "how long 10 ms of CPU time took, 95th percentile"},
		{Name: "gap.peak", Type: evidence.Duration, Doc: "lower bound of the 10 ms bucket that holds most of the time between two looks at the clock"},
		{Name: "gap.max", Type: evidence.Duration, Doc: "longest time between two looks at the clock"},
		{Name: "share", Type: evidence.Double, Unit: "1", Doc: "CPU time divided by time"},
	}, nil
}
