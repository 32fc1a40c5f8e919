package labprobe

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// benchCommands measure speed. Each measures in rounds and gives the best
// round, the median and the noise between them, so that a claim can be
// inconclusive where the machine wasn't quiet.
var benchCommands = []Command{
	{
		Name: "cpu", Usage: "[--rounds N] [--duration D]", Doc: "speed of a loop of integer and floating point arithmetic",
		Outputs: speedOutputs, Run: runSpeed, Exclusive: true,
	},
	{
		Name: "syscall-bench", Usage: "[--n N] [--rounds R]", Doc: "cost of system calls",
		Outputs: syscallBenchOutputs, Run: runSyscallBench, Exclusive: true,
	},
	ioCommand,
}

type speedOptions struct {
	rounds   int
	duration time.Duration
}

func parseSpeed(args []string) (speedOptions, error) {
	var o speedOptions
	f := newFlags()
	f.IntVar(&o.rounds, "rounds", 7, "how many rounds")
	f.DurationVar(&o.duration, "duration", 200*time.Millisecond, "length of a round")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.rounds > 1000 || o.duration <= 0 || o.duration > time.Minute {
		return o, fmt.Errorf("cpu --rounds %d --duration %s: want 1 to 1000 rounds of at most 1m", o.rounds, o.duration)
	}
	return o, nil
}

func speedOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseSpeed(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "rate.max", Type: evidence.Double, Unit: "ops/s", Doc: "loop passes a second of wall time, best round"},
		{Name: "rate.p50", Type: evidence.Double, Unit: "ops/s", Doc: "the same, median"},
		{Name: "cost.min", Type: evidence.Double, Unit: "ns/op", Doc: "wall time of a pass, best round"},
		{Name: "noise", Type: evidence.Double, Unit: "1", Doc: "(median - best) / best of the cost"},
		{Name: "wall", Type: evidence.Duration, Doc: "all rounds on the clock"},
		{Name: "cpu", Type: evidence.Duration, Doc: "CPU time of the process over all rounds; absent where the place has no clock for it"},
	}, nil
}

// passes is how many loop passes lie between two readings of the clock: some
// 100 µs native, some 10 ms in an interpreter.
const passes = 100_000

func runSpeed(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseSpeed(args)
	if err != nil {
		return nil, err
	}
	outputs, err := speedOutputs(args)
	if err != nil {
		return nil, err
	}
	cpu, cpuErr := processCPUTime()
	start := time.Now()
	var costs []float64
	sum := 0.0
	for range o.rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		begin, n := time.Now(), 0
		for time.Since(begin) < o.duration {
			sum += arithmetic(passes)
			n += passes
		}
		costs = append(costs, float64(time.Since(begin).Nanoseconds())/float64(n))
	}
	wall := time.Since(start)
	after, err := processCPUTime()
	if math.IsNaN(sum) { // uses sum, so that the compiler can't drop the loop
		return nil, fmt.Errorf("the arithmetic of this machine is broken")
	}
	s := newSamples(costs)
	ref := fmt.Sprintf("%d rounds of %s", o.rounds, o.duration)
	r := newRecord(outputs)
	r.put("rate.max", 1e9/s[0], "clock", ref)
	r.put("rate.p50", 1e9/s.quantile(0.5), "clock", ref)
	r.put("cost.min", s[0], "clock", ref)
	r.put("noise", s.noise(), "program", ref)
	r.put("wall", wall, "clock", "monotonic")
	if cpuErr == nil && err == nil { // not every WASI host has this clock
		r.put("cpu", after-cpu, "clock", "process CPU time")
	}
	return r.result()
}

// arithmetic is n passes of xorshift64 (Marsaglia 2003) and a multiplication
// and addition of doubles, which stay between 0 and 2.
//
//go:noinline
func arithmetic(n int) float64 {
	x, y := uint64(88172645463325252), 1.0
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		y = y*0.5 + float64(x>>11)*(1.0/(1<<53))
	}
	return y
}

type syscallBenchOptions struct{ n, rounds int }

func parseSyscallBench(args []string) (syscallBenchOptions, error) {
	var o syscallBenchOptions
	f := newFlags()
	f.IntVar(&o.n, "n", 20_000, "calls a round")
	f.IntVar(&o.rounds, "rounds", 7, "how many rounds")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.n < 1 || o.n > 10_000_000 || o.rounds < 1 || o.rounds > 1000 {
		return o, fmt.Errorf("syscall-bench --n %d --rounds %d: want 1 to 10000000 calls in 1 to 1000 rounds", o.n, o.rounds)
	}
	return o, nil
}

// benchedCalls are the calls, from the barest to those that a sandbox has to
// ask its file server for.
var benchedCalls = []struct{ name, doc string }{
	{"getpid", "getpid(2), the bare way into the kernel and back"},
	{"stat", "fstatat(2) of a file"},
	{"open", "openat(2) and close(2) of a file"},
	{"read", "pread(2) of one byte of an open file"},
}

func syscallBenchOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseSyscallBench(args); err != nil {
		return nil, err
	}
	var outputs []evidence.Output
	for _, c := range benchedCalls {
		outputs = append(outputs,
			evidence.Output{Name: c.name + ".min", Type: evidence.Double, Unit: "ns/op", Doc: c.doc + ", best round"},
			evidence.Output{Name: c.name + ".p50", Type: evidence.Double, Unit: "ns/op", Doc: c.doc + ", median round"},
			evidence.Output{Name: c.name + ".noise", Type: evidence.Double, Unit: "1", Doc: "(median - best) / best"},
		)
	}
	return outputs, nil
}
