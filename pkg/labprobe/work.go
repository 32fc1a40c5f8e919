package labprobe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// workCommands measure in one go what a program pays for where it runs, with
// the same code natively and as a WebAssembly module.
var workCommands = []Command{{
	Name: "work", Usage: "[--rounds N] [--duration D]", Doc: "what a program pays: computing, a system call, a byte of a file, a file written and read",
	Outputs: workOutputs, Run: runWork, Exclusive: true,
}}

func parseWork(args []string) (speedOptions, error) {
	var o speedOptions
	f := newFlags()
	f.IntVar(&o.rounds, "rounds", 5, "how many rounds of each kind of work")
	f.DurationVar(&o.duration, "duration", 40*time.Millisecond, "length of a round")
	if err := parseFlags(f, args); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.rounds > 1000 || o.duration <= 0 || o.duration > time.Minute {
		return o, fmt.Errorf("work --rounds %d --duration %s: want 1 to 1000 rounds of at most 1m", o.rounds, o.duration)
	}
	return o, nil
}

// workFile is the size in bytes of the file that is written and read, in
// pieces of workPiece: more pieces than one, so that the way to the file
// counts, and a size that any page cache holds.
const (
	workFile  = 1 << 20
	workPiece = 64 << 10
)

// workKinds are the kinds of work. batch is how many operations lie between
// two readings of the clock.
var workKinds = []struct {
	name, doc string
	batch     int
}{
	{"cpu", "a pass of a loop of integer and floating point arithmetic", passes},
	{"syscall", "getpid(2), the bare way into the kernel and back", 1000},
	{"pread", "one byte read from an open file: pread(2), in WASI fd_pread", 100},
	{"write", "a file of 1 MiB opened and emptied, written in pieces of 64 KiB and closed, without fsync", 1},
	{"read", "that file opened, read in pieces of 64 KiB and closed", 1},
}

func workOutputs(args []string) ([]evidence.Output, error) {
	if _, err := parseWork(args); err != nil {
		return nil, err
	}
	var outputs []evidence.Output
	for _, k := range workKinds {
		outputs = append(outputs,
			evidence.Output{Name: k.name + ".cost", Type: evidence.Double, Unit: "ns/op", Doc: k.doc + ": wall time, median round; absent where untestable"},
			evidence.Output{Name: k.name + ".noise", Type: evidence.Double, Unit: "1", Doc: "(median - best) / best"},
			evidence.Output{Name: k.name + ".untestable", Type: evidence.String, Doc: "why the place can't show it; absent where it can"},
		)
	}
	return outputs, nil
}

func runWork(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseWork(args)
	if err != nil {
		return nil, err
	}
	outputs, err := workOutputs(args)
	if err != nil {
		return nil, err
	}
	files, filesErr := newWorkFiles()
	defer files.remove()
	sum := 0.0
	calls := map[string]func() error{"syscall": bareSyscall, "pread": files.pread, "write": files.write, "read": files.read}
	reasons := map[string]error{"pread": filesErr, "write": filesErr, "read": filesErr}
	if bareSyscall == nil {
		reasons["syscall"] = errors.New("a WebAssembly module makes no system calls; the functions of WASI are its only way out")
	}
	r := newRecord(outputs)
	for _, k := range workKinds {
		if reason := reasons[k.name]; reason != nil {
			r.put(k.name+".untestable", reason.Error(), "program", k.doc)
			continue
		}
		batch := func() error { sum += arithmetic(k.batch); return nil }
		if call := calls[k.name]; call != nil {
			batch = func() error { return repeat(k.batch, call) }
		}
		s, err := timed(ctx, o, k.batch, batch)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", k.name, err)
		}
		ref := fmt.Sprintf("%s; median of %d rounds of %s", k.doc, o.rounds, o.duration)
		r.put(k.name+".cost", s.quantile(0.5), "clock", ref)
		r.put(k.name+".noise", s.noise(), "program", ref)
	}
	if math.IsNaN(sum) { // uses sum, so that the compiler can't drop the loop
		return nil, errors.New("the arithmetic of this machine is broken")
	}
	// Whoever looks at the process from outside afterwards wants it at rest.
	files.remove()
	debug.FreeOSMemory()
	return r.result()
}

func repeat(n int, call func() error) error {
	for range n {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}

// timed gives nanoseconds an operation for each round: at least one batch,
// then more until the round's time is over.
func timed(ctx context.Context, o speedOptions, batch int, run func() error) (samples, error) {
	var costs []float64
	for range o.rounds {
		begin, n := time.Now(), 0
		for n == 0 || time.Since(begin) < o.duration {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if err := run(); err != nil {
				return nil, err
			}
			n += batch
		}
		costs = append(costs, float64(time.Since(begin).Nanoseconds())/float64(n))
	}
	return newSamples(costs), nil
}

// workFiles is the file that is worked with.
type workFiles struct {
	path   string
	file   *os.File // open for pread
	buffer []byte
}

// newWorkFiles makes the file in the folder for temporary files. An error
// says why this place can't have one.
func newWorkFiles() (*workFiles, error) {
	w := &workFiles{buffer: make([]byte, workPiece)}
	f, err := os.CreateTemp("", "labprobe-")
	if err != nil {
		return w, fmt.Errorf("no file to measure with: %w", err)
	}
	w.path, w.file = f.Name(), f
	if err := w.write(); err != nil {
		return w, fmt.Errorf("no file to measure with: %w", err)
	}
	return w, nil
}

func (w *workFiles) pread() error {
	_, err := w.file.ReadAt(w.buffer[:1], 0)
	return err
}

func (w *workFiles) write() error {
	f, err := os.OpenFile(w.path, os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	for n := 0; n < workFile; n += len(w.buffer) {
		if _, err := f.Write(w.buffer); err != nil {
			_ = f.Close() // the write error says more
			return err
		}
	}
	return f.Close()
}

func (w *workFiles) read() error {
	f, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // was only read
	n := 0
	for {
		k, err := f.Read(w.buffer)
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if n != workFile {
		return fmt.Errorf("read %d bytes of the %d that were written", n, workFile)
	}
	return nil
}

// remove removes the file; twice is no harm.
func (w *workFiles) remove() {
	if w.file == nil {
		return
	}
	_, _ = w.file.Close(), os.Remove(w.path) // in a place for temporary files
	w.file = nil
}
