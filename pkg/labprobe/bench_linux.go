package labprobe

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runSyscallBench(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseSyscallBench(args)
	if err != nil {
		return nil, err
	}
	outputs, err := syscallBenchOutputs(args)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "labprobe-")
	if err != nil {
		return nil, evidence.Untestablef("no file to measure with: %v", err)
	}
	path := f.Name()
	defer func() { _, _ = f.Close(), os.Remove(path) }() // in a temporary place
	if _, err := f.Write([]byte{1}); err != nil {
		return nil, fmt.Errorf("write the file to measure with: %w", err)
	}
	fd, one := int(f.Fd()), make([]byte, 1)
	calls := map[string]func() error{
		"getpid": func() error {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0) // always succeeds
			return nil
		},
		"stat": func() error {
			var st unix.Stat_t
			return unix.Fstatat(unix.AT_FDCWD, path, &st, 0)
		},
		"open": func() error {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		},
		"read": func() error {
			_, err := unix.Pread(fd, one, 0)
			return err
		},
	}
	r := newRecord(outputs)
	for _, c := range benchedCalls {
		s, err := rounds(ctx, o, calls[c.name])
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", c.name, err)
		}
		ref := fmt.Sprintf("%d rounds of %d calls", o.rounds, o.n)
		r.put(c.name+".min", s[0], "clock", ref)
		r.put(c.name+".p50", s.quantile(0.5), "clock", ref)
		r.put(c.name+".noise", s.noise(), "program", ref)
	}
	return r.result()
}

// rounds gives nanoseconds a call for each round.
func rounds(ctx context.Context, o syscallBenchOptions, call func() error) (samples, error) {
	var costs []float64
	for range o.rounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start := time.Now()
		for range o.n {
			if err := call(); err != nil {
				return nil, err
			}
		}
		costs = append(costs, float64(time.Since(start).Nanoseconds())/float64(o.n))
	}
	return newSamples(costs), nil
}
