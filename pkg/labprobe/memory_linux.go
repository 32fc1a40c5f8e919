package labprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const allocateCall = "mmap(2) and a write to each page"

// allocateInChild has a child process allocate n bytes. Whether it survives is
// no evidence: the kernel kills the largest process of a cgroup (the badness of
// mm/oom_kill.c), which is the child.
func allocateInChild(ctx context.Context, n uint64) {
	_ = exec.CommandContext(ctx, "/proc/self/exe", "memory", "--bytes", strconv.FormatUint(n, 10)).Run()
}

// allocate maps memory and writes to each of its pages.
func allocate(n uint64) (release func(), err error) {
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(b); i += os.Getpagesize() {
		b[i] = 1
	}
	return func() { _ = unix.Munmap(b) }, nil // a mapping of our own, whole: it can't fail
}

// runFork makes children that end at once and are not waited for until the
// last is there: a zombie counts against pids.max and RLIMIT_NPROC as a
// living process does, and none is left behind if labprobe is killed.
func runFork(ctx context.Context, args []string) (evidence.Set, error) {
	count, err := parseFork(args)
	if err != nil {
		return nil, err
	}
	outputs, err := forkOutputs(args)
	if err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var children []int
	refusal := ""
	for len(children) < count && ctx.Err() == nil {
		pid, errno := forkCalls(nil)
		if errno != 0 {
			refusal = symbol(errno)
			break
		}
		children = append(children, pid)
	}
	for _, pid := range children {
		for {
			if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
				break // gone, which is all that matters
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("forked.count", len(children), "syscall", "clone(2)")
	r.put("errno", refusal, "syscall", "clone(2)")
	r.put("limited", refusal != "", "syscall", "clone(2)")
	return r.result()
}

func runThrottle(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseThrottle(args)
	if err != nil {
		return nil, err
	}
	outputs, err := throttleOutputs(args)
	if err != nil {
		return nil, err
	}
	tree := root()
	group, visible := cgroupOf(tree, "self", "cpu")
	before, err := readThrottling(tree, group)
	visible = visible && err == nil

	b, err := burn(ctx, o.duration)
	if err != nil {
		return nil, err
	}
	r := newRecord(outputs)
	r.put("wall", b.wall, "clock", "monotonic")
	r.put("cpu", b.cpu, "syscall", "getrusage(2)")
	r.put("cpu.share", float64(b.cpu)/float64(b.wall), "program", "cpu / wall")
	r.put("stall.max", b.stall, "clock", "monotonic")
	r.put("throttle.visible", visible, "file", "/"+path.Join(group.dir, "cpu.stat"))
	if visible {
		after, err := readThrottling(tree, group)
		if err != nil {
			return nil, fmt.Errorf("read throttling after the burn: %w", err)
		}
		ref := "/" + path.Join(group.dir, "cpu.stat")
		r.put("periods", after.periods-before.periods, "file", ref+" nr_periods")
		r.put("throttled.periods", after.throttled-before.throttled, "file", ref+" nr_throttled")
		r.put("throttled.time", after.time-before.time, "file", ref)
	}
	return r.result()
}

type burnt struct{ wall, cpu, stall time.Duration }

// burn keeps one thread busy with reading the clock.
func burn(ctx context.Context, d time.Duration) (burnt, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu, err := processCPUTime()
	if err != nil {
		return burnt{}, err
	}
	var b burnt
	start := time.Now()
	for last := start; last.Sub(start) < d && ctx.Err() == nil; {
		now := time.Now()
		b.stall = max(b.stall, now.Sub(last))
		last = now
	}
	b.wall = time.Since(start)
	after, err := processCPUTime()
	b.cpu = after - cpu
	if err == nil {
		err = ctx.Err()
	}
	return b, err
}
