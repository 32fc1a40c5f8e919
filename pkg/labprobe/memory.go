package labprobe

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// limitCommands run into limits, so that what enforces them shows.
var limitCommands = []Command{
	{
		Name: "memory", Usage: "--bytes N [--child-first] [--wait DURATION] [--hold DURATION]", Doc: "allocates and touches memory; over a limit, the kernel's answer is the evidence",
		Outputs: memoryOutputs, Run: runMemory,
	},
	{
		Name: "fork", Usage: "--max N", Doc: "makes processes until the kernel refuses or N are there",
		Outputs: forkOutputs, Run: runFork,
	},
	{
		Name: "throttle", Usage: "--duration D", Doc: "burns CPU and reads what cpu.stat says about throttling",
		Outputs: throttleOutputs, Run: runThrottle, // a quota throttles on a busy machine as on an idle one
	},
}

type memoryOptions struct {
	bytes      uint64
	childFirst bool
	wait, hold time.Duration
}

func parseMemory(args []string) (memoryOptions, error) {
	var o memoryOptions
	var size string
	f := newFlags()
	f.StringVar(&size, "bytes", "", "how much, e.g. 64Mi")
	// containerd looks for the OOM killer's notices only once the container
	// runs, and it may hear of the container's end before the notice of what
	// ended it. With a child killed a while earlier it has had a notice by then.
	f.BoolVar(&o.childFirst, "child-first", false, "let a child process do the same before the wait")
	f.DurationVar(&o.wait, "wait", 0, "how long to wait before")
	f.DurationVar(&o.hold, "hold", 0, "how long to keep it")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	var err error
	o.bytes, err = parseBytes(size)
	if err == nil && (o.bytes == 0 || o.bytes > math.MaxInt) {
		err = fmt.Errorf("memory --bytes %q: want more than nothing and less than the address space", size)
	}
	return o, err
}

func memoryOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseMemory(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "allocated", Type: evidence.Bool, Doc: "whether all of it could be had and touched"},
		{Name: "errno", Type: evidence.String, Doc: "error's name of the allocation, empty for success"},
		{Name: "bytes", Type: evidence.Quantity, Unit: "bytes", Doc: "how much was asked for"},
		{Name: "rss.before", Type: evidence.Quantity, Unit: "bytes", Doc: "own resident memory before"},
		{Name: "rss", Type: evidence.Quantity, Unit: "bytes", Doc: "own resident memory with it"},
	}, nil
}

func runMemory(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseMemory(args)
	if err != nil {
		return nil, err
	}
	outputs, err := memoryOutputs(args)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	if o.childFirst {
		allocateInChild(ctx, o.bytes)
	}
	wait(ctx, o.wait)
	recordRSS(r, "rss.before")
	release, err := allocate(o.bytes)
	r.put("allocated", err == nil, "syscall", allocateCall)
	r.put("errno", errnoName(err), "syscall", allocateCall)
	r.put("bytes", bytesQuantity(o.bytes), "program", "arguments")
	if err == nil {
		recordRSS(r, "rss")
		select {
		case <-ctx.Done():
		case <-time.After(o.hold):
		}
		release()
	}
	return r.result()
}

// recordRSS puts VmRSS where the place shows it.
func recordRSS(r *record, name string) {
	status, err := readText(root(), "proc/self/status")
	if err != nil {
		return
	}
	if n, ok := kilobytes(statusFields(status)["VmRSS"]); ok {
		r.put(name, bytesQuantity(n), "file", "/proc/self/status VmRSS")
	}
}

// kilobytes reads "1234 kB" as bytes.
func kilobytes(s string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(s, "kB")), 10, 64)
	return n << 10, err == nil
}

// parseBytes reads a number of bytes, with Ki, Mi or Gi after it if need be.
func parseBytes(s string) (uint64, error) {
	number, shift := s, 0
	for i, suffix := range []string{"Ki", "Mi", "Gi"} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			number, shift = n, 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("%q: want a number of bytes like 4096 or 64Mi", s)
	}
	return n << shift, nil
}

// forkLimit keeps a slip in a lab from filling the process table of a host.
const forkLimit = 4096

func parseFork(args []string) (count int, err error) {
	f := newFlags()
	f.IntVar(&count, "max", 64, "how many at most")
	if err := parseFlags(f, args); err != nil {
		return 0, err
	}
	if count < 1 || count > forkLimit {
		return 0, fmt.Errorf("fork --max %d: want 1 to %d", count, forkLimit)
	}
	return count, nil
}

func forkOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseFork(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "forked.count", Type: evidence.Int, Unit: "count", Doc: "processes that could be made and stood at the same time"},
		{Name: "errno", Type: evidence.String, Doc: "why no more, empty where the maximum was reached"},
		{Name: "limited", Type: evidence.Bool, Doc: "whether the kernel refused before the maximum"},
	}, nil
}

type throttleOptions struct{ duration time.Duration }

func parseThrottle(args []string) (throttleOptions, error) {
	var o throttleOptions
	f := newFlags()
	f.DurationVar(&o.duration, "duration", 2*time.Second, "how long to burn CPU")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.duration <= 0 || o.duration > time.Minute {
		return o, fmt.Errorf("throttle --duration %s: want more than 0 and at most 1m", o.duration)
	}
	return o, nil
}

func throttleOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseThrottle(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "wall", Type: evidence.Duration, Doc: "time on the clock"},
		{Name: "cpu", Type: evidence.Duration, Doc: "CPU time that the process got"},
		{Name: "cpu.share", Type: evidence.Double, Unit: "1", Doc: "cpu / wall; one thread burns, so 1 is all it wanted"},
		{Name: "stall.max", Type: evidence.Duration, Doc: "longest gap between two readings of the clock"},
		{Name: "throttle.visible", Type: evidence.Bool, Doc: "whether the place shows its cgroup's cpu.stat"},
		{Name: "periods", Type: evidence.Int, Unit: "count", Doc: "enforcement periods that passed (nr_periods); absent where not visible"},
		{Name: "throttled.periods", Type: evidence.Int, Unit: "count", Doc: "periods that were cut short (nr_throttled); absent where not visible"},
		{Name: "throttled.time", Type: evidence.Duration, Doc: "time that tasks were held back; absent where not visible"},
	}, nil
}
