package labprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runThrottleGap(ctx context.Context, args []string) (_ evidence.Set, err error) {
	p, err := parseThrottleGap(args)
	if err != nil {
		return nil, err
	}
	outputs, err := throttleGapOutputs(args)
	if err != nil {
		return nil, err
	}
	group, err := newCPUGroup(p.quota, p.period)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := group.remove(); err == nil {
			err = e
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, p.length+30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, "/proc/self/exe", "burn", "--for", p.length.String())
	// The child dies with the thread that starts it: no orphan after SIGKILL.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	burnt, gaps, err := watchBurn(child, group)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ended while a process was watched: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	stat, err := group.stat()
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("cgroup.version", group.version, "file", group.path)
	r.put("periods", stat.periods, "file", "cpu.stat nr_periods")
	r.put("throttled", stat.throttled, "file", "cpu.stat nr_throttled")
	r.put("throttled.time", stat.time, "file", "cpu.stat throttled_usec (v2), throttled_time (v1)")
	const tracepoint = "tracepoint sched:sched_switch"
	r.put("offcpu.peak", gaps.peak(), "counter", tracepoint)
	r.put("offcpu.max", gaps.longest(), "counter", tracepoint)
	r.put("offcpu.events", gaps.events(), "counter", tracepoint)
	r.put("offcpu.histogram", gaps.text(), "counter", tracepoint)
	for _, name := range []string{"work.p50", "work.p95", "share"} {
		v, _ := burnt.Get(name)
		r.put(name, v.Value, v.Source.Kind, v.Source.Ref)
	}
	return r.result()
}

// watchBurn runs a burn in the group and watches it with sched_switch.
func watchBurn(child *exec.Cmd, group *cpuGroup) (evidence.Set, *gaps, error) {
	out, err := os.CreateTemp("", "labprobe-burn-*")
	if err != nil {
		return nil, nil, fmt.Errorf("file for the child's report: %w", err)
	}
	defer func() { _ = out.Close() }()
	if err := os.Remove(out.Name()); err != nil { // it lives as long as it is open
		return nil, nil, err
	}
	child.Stdout, child.Stderr = out, out
	if err := child.Start(); err != nil {
		return nil, nil, fmt.Errorf("start a process that burns: %w", err)
	}
	abort := func(err error) (evidence.Set, *gaps, error) {
		_ = child.Process.Kill() // it may have ended already
		_ = child.Wait()         // its end is of no interest now
		return nil, nil, err
	}
	if err := group.enter(child.Process.Pid); err != nil {
		return abort(err)
	}
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: uint32(len(gaps{}))})
	if err != nil {
		return abort(bpfError("a map of eBPF", err))
	}
	defer func() { _ = counts.Close() }()
	starts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1024})
	if err != nil {
		return abort(bpfError("a map of eBPF", err))
	}
	defer func() { _ = starts.Close() }()
	t, err := trace("sched", "sched_switch", offCPU(child.Process.Pid, starts, counts))
	if err != nil {
		return abort(err)
	}
	defer t.close()
	waitErr := child.Wait()
	text, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(int(out.Fd())))
	if err != nil {
		return nil, nil, fmt.Errorf("the child's report: %w", err)
	}
	report, err := Parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("the process that burns: %w", errors.Join(err, waitErr))
	}
	burnt, err := report.Result()
	if err != nil {
		return nil, nil, err
	}
	var g gaps
	for i := range g {
		if err := counts.Lookup(uint32(i), &g[i]); err != nil {
			return nil, nil, fmt.Errorf("histogram: %w", err)
		}
	}
	return burnt, &g, nil
}

// offCPU makes a program on sched_switch: where a thread of the process
// leaves the CPU although it could run on (throttled, or preempted), it
// notes when, and where the thread comes back it counts the time between.
// The process is found by its id in our pid namespace; the event's own ids
// are the host's.
func offCPU(pid int, starts, counts *ebpf.Map) func(eventFormat) (asm.Instructions, error) {
	return func(f eventFormat) (asm.Instructions, error) {
		prev, err := f.number("prev_pid")
		if err != nil {
			return nil, err
		}
		state, err := f.number("prev_state")
		if err != nil {
			return nil, err
		}
		next, err := f.number("next_pid")
		if err != nil {
			return nil, err
		}
		var ns unix.Stat_t
		if err := unix.Stat("/proc/self/ns/pid", &ns); err != nil {
			return nil, fmt.Errorf("pid namespace: %w", err)
		}
		before := asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadImm(asm.R1, int64(ns.Dev), asm.DWord),
			asm.LoadImm(asm.R2, int64(ns.Ino), asm.DWord),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -8), // struct bpf_pidns_info: pid, tgid
			asm.Mov.Imm(asm.R4, 8),
			asm.FnGetNsCurrentPidTgid.Call(),
			asm.JNE.Imm(asm.R0, 0, "next"),
			asm.LoadMem(asm.R1, asm.RFP, -4, asm.Word),
			asm.JNE.Imm(asm.R1, int32(pid), "next"),
			asm.Mov.Reg(asm.R1, asm.R6),
			state.load(asm.R1),
			// TASK_REPORT of linux/sched.h; above it lies the mark of a preemption.
			asm.And.Imm(asm.R1, 0xff),
			asm.JNE.Imm(asm.R1, 0, "next"),
			asm.Mov.Reg(asm.R1, asm.R6),
			prev.load(asm.R1),
			asm.StoreMem(asm.RFP, -12, asm.R1, asm.Word),
			asm.FnKtimeGetNs.Call(),
			asm.StoreMem(asm.RFP, -24, asm.R0, asm.DWord),
			asm.LoadMapPtr(asm.R1, starts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -12),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -24),
			asm.Mov.Imm(asm.R4, 0), // BPF_ANY
			asm.FnMapUpdateElem.Call(),
		}
		after := asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("next"),
			next.load(asm.R1),
			asm.StoreMem(asm.RFP, -12, asm.R1, asm.Word),
			asm.LoadMapPtr(asm.R1, starts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -12),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.LoadMem(asm.R7, asm.R0, 0, asm.DWord),
			asm.LoadMapPtr(asm.R1, starts.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -12),
			asm.FnMapDeleteElem.Call(),
			asm.FnKtimeGetNs.Call(),
			asm.Mov.Reg(asm.R2, asm.R0),
			asm.Sub.Reg(asm.R2, asm.R7),
			asm.Mov.Imm(asm.R0, 0),
			asm.JLT.Imm(asm.R2, int32(shortestGap), "out"),
			asm.Div.Imm(asm.R2, int32(gapWidth)),
			asm.JLT.Imm(asm.R2, int32(len(gaps{})), "count"),
			asm.Mov.Imm(asm.R2, int32(len(gaps{})-1)),
		}
		count := addOne(counts)
		count[0] = count[0].WithSymbol("count")
		return append(append(before, after...), count...), nil
	}
}
