package labprobe

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// workUnit is the CPU time whose duration burn takes, like a small request.
const workUnit = 10 * time.Millisecond

func runBurn(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseBurn(args)
	if err != nil {
		return nil, err
	}
	outputs, err := burnOutputs(args)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread() // the CPU clock is the thread's
	defer runtime.UnlockOSThread()
	var units []float64
	var seen gaps
	var longest time.Duration
	begin, err := cpuTime()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	last, unitStart, unitCPU, cpu := start, start, begin, begin
	for time.Since(start) < p.length && ctx.Err() == nil {
		now := time.Now()
		gap := now.Sub(last)
		seen.add(gap)
		longest = max(longest, gap)
		last = now
		if cpu, err = cpuTime(); err != nil {
			return nil, err
		}
		if cpu-unitCPU >= workUnit {
			units = append(units, float64(now.Sub(unitStart)))
			unitStart, unitCPU = now, cpu
		}
	}
	wall := time.Since(start)
	if len(units) == 0 {
		return nil, fmt.Errorf("%v were too short for %v of CPU time (%v were had)", wall, workUnit, cpu-begin)
	}
	r := newRecord(outputs)
	work := newSamples(units)
	r.put("work.p50", time.Duration(work.quantile(0.5)), "clock", "monotonic, a unit of 10 ms of CLOCK_THREAD_CPUTIME_ID")
	r.put("work.p95", time.Duration(work.quantile(0.95)), "clock", "monotonic, a unit of 10 ms of CLOCK_THREAD_CPUTIME_ID")
	r.put("gap.peak", seen.peak(), "clock", "monotonic, in a loop")
	r.put("gap.max", longest, "clock", "monotonic, in a loop")
	r.put("share", float64(cpu-begin)/float64(wall), "clock", "CLOCK_THREAD_CPUTIME_ID by monotonic")
	return r.result()
}

// cpuTime is what the calling thread has had of the CPU.
func cpuTime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime CLOCK_THREAD_CPUTIME_ID: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
