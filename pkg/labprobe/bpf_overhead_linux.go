package labprobe

import (
	"context"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runBPFOverhead(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseBPFOverhead(args)
	if err != nil {
		return nil, err
	}
	outputs, err := bpfOverheadOutputs(args)
	if err != nil {
		return nil, err
	}
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, bpfError("a map of eBPF", err)
	}
	defer func() { _ = counts.Close() }()
	attach := func() (*tracer, error) { return trace("syscalls", "sys_enter_getpid", countEvents(counts)) }

	// Rounds alternate, so that what else happens on the machine meets both.
	var bare, traced []float64
	for range p.rounds {
		ns, err := callLoop(ctx, p.n)
		if err != nil {
			return nil, err
		}
		bare = append(bare, ns)
		t, err := attach()
		if err != nil {
			return nil, err
		}
		ns, err = callLoop(ctx, p.n)
		t.close()
		if err != nil {
			return nil, err
		}
		traced = append(traced, ns)
	}

	// The kernel's own clock for programs costs time itself: a run apart.
	t, err := attach()
	if err != nil {
		return nil, err
	}
	defer t.close()
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, bpfError("bpf_stats", err)
	}
	defer func() { _ = stats.Close() }()
	if _, err := callLoop(ctx, p.n); err != nil {
		return nil, err
	}
	ran, err := t.program.Stats()
	if err != nil {
		return nil, bpfError("bpf_stats", err)
	}
	if ran.RunCount < uint64(p.n) {
		return nil, fmt.Errorf("the program ran %d times for %d calls of getpid", ran.RunCount, p.n)
	}

	r := newRecord(outputs)
	const loop = "loop of getpid"
	quiet := newSamples(bare)
	b, w := quiet.quantile(0.5), newSamples(traced).quantile(0.5)
	r.put("bare", b, "clock", loop)
	r.put("traced", w, "clock", loop)
	r.put("overhead", time.Duration(w-b), "clock", loop)
	r.put("overhead.ratio", w/b, "clock", loop)
	perEvent := float64(ran.Runtime.Nanoseconds()) / float64(ran.RunCount)
	r.put("program", time.Duration(perEvent), "counter", "bpf_stats run_time_ns / run_cnt")
	r.put("program.ns", perEvent, "counter", "bpf_stats run_time_ns / run_cnt")
	r.put("program.events", int64(ran.RunCount), "counter", "bpf_stats run_cnt")
	r.put("calls", p.n, "program", loop)
	r.put("noise", quiet.noise(), "clock", loop)
	return r.result()
}

// countEvents counts events in the first entry of an array: about the least
// that a useful program does.
func countEvents(counts *ebpf.Map) func(eventFormat) (asm.Instructions, error) {
	return func(eventFormat) (asm.Instructions, error) {
		return append(asm.Instructions{asm.Mov.Imm(asm.R2, 0)}, addOne(counts)...), nil
	}
}

// addOne adds one to the entry of an array of counters whose index is in R2, and returns.
func addOne(counts *ebpf.Map) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, -4, asm.R2, asm.Word),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}
}

// callLoop makes n calls of getpid and returns the nanoseconds a call.
func callLoop(ctx context.Context, n int) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	start := time.Now()
	for range n {
		unix.Getpid()
	}
	return float64(time.Since(start).Nanoseconds()) / float64(n), ctx.Err()
}
