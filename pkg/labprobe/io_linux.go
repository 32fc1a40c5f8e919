package labprobe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runIO(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseIO(args)
	if err != nil {
		return nil, err
	}
	outputs, err := ioOutputs(args)
	if err != nil {
		return nil, err
	}
	buffer, err := alignedBuffer(o.block)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(buffer) }() // was mapped by us
	f, err := ioFile(ctx, o, buffer)
	if err != nil {
		return nil, err
	}
	defer func() { _, _ = f.Close(), os.Remove(f.Name()) }() // was made to be removed
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at the file to measure with: %w", err)
	}
	r := newRecord(outputs)
	r.put("direct", !o.buffered, "syscall", "open "+f.Name())
	r.put("device", fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), "syscall", "fstat "+f.Name())
	for _, kind := range []struct {
		which string
		call  func([]byte, int64) (int, error)
	}{{"read", f.ReadAt}, {"write", f.WriteAt}} {
		times, err := ioTimes(ctx, o, buffer, kind.call)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", kind.which, err)
		}
		total := 0.0
		for _, t := range times {
			total += t
		}
		rate := float64(len(times)) / (total / 1e9)
		ref := fmt.Sprintf("%d requests of %d bytes at random places of %d", o.n, o.block, o.size)
		r.put(kind.which+".min", times[0], "clock", ref)
		r.put(kind.which+".p50", times.quantile(0.5), "clock", ref)
		r.put(kind.which+".p95", times.quantile(0.95), "clock", ref)
		r.put(kind.which+".rate", rate, "clock", ref)
		r.put(kind.which+".bandwidth", rate*float64(o.block), "clock", ref)
	}
	return r.result()
}

// alignedBuffer is memory that O_DIRECT takes: mapped, so that it begins at a
// page.
func alignedBuffer(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes for requests: %w", size, err)
	}
	for i := range b { // a file system may leave out what is zero
		b[i] = byte(rand.Uint32())
	}
	return b, nil
}

// ioFile makes the file, filled and on the disk. A file system without
// O_DIRECT makes the measurement untestable.
func ioFile(ctx context.Context, o ioOptions, buffer []byte) (*os.File, error) {
	made, err := os.CreateTemp(o.path, "labprobe-")
	if err != nil {
		return nil, fmt.Errorf("make a file to measure with: %w", err)
	}
	name := made.Name()
	if err := fill(ctx, made, o, buffer); err != nil {
		_, _ = made.Close(), os.Remove(name) // the error says more
		return nil, fmt.Errorf("fill %s: %w", name, err)
	}
	if o.buffered {
		return made, nil
	}
	_ = made.Close() // is synced
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		_ = os.Remove(name) // the error says more
		if errors.Is(err, unix.EINVAL) {
			return nil, evidence.Untestablef("the file system of %s has no O_DIRECT", o.path)
		}
		return nil, fmt.Errorf("open the file past the page cache: %w", err)
	}
	return f, nil
}

func fill(ctx context.Context, f *os.File, o ioOptions, buffer []byte) error {
	for at := 0; at < o.size; at += o.block {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.WriteAt(buffer, int64(at)); err != nil {
			return err
		}
	}
	return f.Sync()
}

// ioTimes are the nanoseconds that each of n requests took, in ascending order.
func ioTimes(ctx context.Context, o ioOptions, buffer []byte, call func([]byte, int64) (int, error)) (samples, error) {
	blocks := o.size / o.block
	times := make([]float64, 0, o.n)
	for range o.n {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		at := int64(rand.IntN(blocks)) * int64(o.block)
		start := time.Now()
		if _, err := call(buffer, at); err != nil {
			return nil, err
		}
		times = append(times, float64(time.Since(start).Nanoseconds()))
	}
	return newSamples(times), nil
}
