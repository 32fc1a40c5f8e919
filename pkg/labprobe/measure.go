package labprobe

import (
	"errors"
	"flag"
	"fmt"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// measureCommands time other programs.
var measureCommands = []Command{{
	Name: "measure", Usage: "[-n N] [--warmup K] -- PROGRAM [ARG…]", Doc: "runs a program N times: time from start to end, peak memory, exit codes; an argument {empty.wasm} becomes the path of an empty module",
	Outputs: measureOutputs, Run: runMeasure, Exclusive: true,
}}

// emptyWasm is an argument of the measured program that measure replaces by
// the path of the smallest WebAssembly module: what a WebAssembly runtime
// itself takes.
const emptyWasm = "{empty.wasm}"

type measureOptions struct {
	n, warmup int
	argv      []string
}

func parseMeasure(args []string) (measureOptions, error) {
	var o measureOptions
	f := newFlags()
	f.IntVar(&o.n, "n", 5, "timed runs")
	f.IntVar(&o.warmup, "warmup", 1, "runs beforehand that don't count")
	if err := f.Parse(args); err != nil && !errors.Is(err, flag.ErrHelp) {
		return o, err
	}
	o.argv = f.Args()
	if len(o.argv) == 0 {
		return o, fmt.Errorf("measure wants a program after --")
	}
	if o.n < 1 || o.n > 10_000 || o.warmup < 0 || o.warmup > 10_000 {
		return o, fmt.Errorf("measure -n %d --warmup %d: want 1 to 10000 runs after 0 to 10000", o.n, o.warmup)
	}
	return o, nil
}

func measureOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseMeasure(args); err != nil {
		return nil, err
	}
	return []evidence.Output{
		{Name: "runs", Type: evidence.Int, Unit: "count", Doc: "timed runs"},
		{Name: "failures", Type: evidence.Int, Unit: "count", Doc: "timed runs that ended with another code than 0"},
		{Name: "exit.codes", Type: evidence.List, Doc: "the codes that came, each once; a signal as its name"},
		{Name: "failure", Type: evidence.String, Doc: "end of what the first failing run printed, empty for none"},
		{Name: "wall.min", Type: evidence.Duration, Doc: "shortest run, from before fork to after wait"},
		{Name: "wall.p50", Type: evidence.Duration, Doc: "median run"},
		{Name: "wall.p95", Type: evidence.Duration, Doc: "95th percentile, nearest rank"},
		{Name: "wall.max", Type: evidence.Duration, Doc: "longest run"},
		{Name: "wall.noise", Type: evidence.Double, Unit: "1", Doc: "(median - shortest) / shortest"},
		{Name: "cpu.p50", Type: evidence.Duration, Doc: "CPU time of the program and the children it waited for, median"},
		{Name: "rss.max", Type: evidence.Quantity, Unit: "bytes", Doc: "peak resident memory of the program itself when it ends, in a run of its own"},
	}, nil
}

// emptyModule is the smallest WebAssembly command: a module that exports a
// function _start without instructions (WebAssembly core specification 1.0,
// binary format).
var emptyModule = []byte{
	0, 'a', 's', 'm', 1, 0, 0, 0, // magic, version
	1, 4, 1, 0x60, 0, 0, // type section: () -> ()
	3, 2, 1, 0, // function section: one function of that type
	7, 10, 1, 6, '_', 's', 't', 'a', 'r', 't', 0, 0, // export section
	10, 4, 1, 2, 0, 0x0b, // code section: end
}
