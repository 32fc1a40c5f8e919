package labprobe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// timedRun is one run of a program.
type timedRun struct {
	wall, cpu time.Duration
	end       string // exit code or signal
	output    string // end of what it printed
}

func runMeasure(ctx context.Context, args []string) (evidence.Set, error) {
	o, err := parseMeasure(args)
	if err != nil {
		return nil, err
	}
	outputs, err := measureOutputs(args)
	if err != nil {
		return nil, err
	}
	argv, remove, err := fillIn(o.argv)
	if err != nil {
		return nil, fmt.Errorf("write what measure brings along: %w", err)
	}
	defer remove()
	for range o.warmup {
		if _, err := timeProgram(ctx, argv); err != nil {
			return nil, err
		}
	}
	var walls, cpus []float64
	var ends []string
	failures, failure := 0, ""
	for range o.n {
		t, err := timeProgram(ctx, argv)
		if err != nil {
			return nil, err
		}
		walls = append(walls, float64(t.wall))
		cpus = append(cpus, float64(t.cpu))
		ends = append(ends, t.end)
		if t.end != "0" {
			failures++
			if failure == "" {
				failure = t.output
			}
		}
	}
	// Tracing costs the program time, so memory has a run of its own.
	peak, err := peakMemory(ctx, argv)
	if err != nil {
		return nil, err
	}

	line := strings.Join(o.argv, " ")
	r := newRecord(outputs)
	wall, cpu := newSamples(walls), newSamples(cpus)
	r.put("runs", o.n, "command", line)
	r.put("failures", failures, "command", line)
	slices.Sort(ends)
	r.put("exit.codes", slices.Compact(ends), "command", line)
	r.put("failure", failure, "command", line)
	r.put("wall.min", time.Duration(wall[0]), "clock", line)
	r.put("wall.p50", time.Duration(wall.quantile(0.5)), "clock", line)
	r.put("wall.p95", time.Duration(wall.quantile(0.95)), "clock", line)
	r.put("wall.max", time.Duration(wall[len(wall)-1]), "clock", line)
	r.put("wall.noise", wall.noise(), "program", line)
	r.put("cpu.p50", time.Duration(cpu.quantile(0.5)), "syscall", "wait4(2) rusage of "+line)
	r.put("rss.max", bytesQuantity(peak), "file", "/proc/PID/status VmHWM at exit of "+line)
	return r.result()
}

// timeProgram runs argv once. A program that fails is a result; one that
// can't be started is an error.
func timeProgram(ctx context.Context, argv []string) (timedRun, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &output, &output
	// A group of its own, so that what the program starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a daemon that it leaves may hold its output open
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if ctx.Err() != nil {
		return timedRun{}, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return timedRun{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	state := cmd.ProcessState
	t := timedRun{wall: wall, cpu: state.UserTime() + state.SystemTime(), end: strconv.Itoa(state.ExitCode())}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		t.end = ended{signal: status.Signal()}.name()
	}
	said := strings.TrimSpace(output.String())
	t.output = said[max(0, len(said)-400):]
	return t, nil
}

// peakMemory runs argv once more and reads VmHWM where the program is about to
// exit, which ptrace(2) stops it for. rusage won't do: its maximum includes
// the parent's memory, which a child has until exec.
func peakMemory(ctx context.Context, argv []string) (uint64, error) {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = null.Close() }() // nothing was written
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Files: []*os.File{null, null, null},
		Sys:   &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s traced: %w", argv[0], err)
	}
	pid := p.Pid
	defer context.AfterFunc(ctx, func() { _ = p.Kill() })()
	defer func() { _ = p.Release() }() // waited for below
	abandon := func(err error) error {
		err = errors.Join(err, p.Kill())
		_, _ = syscall.Wait4(pid, nil, 0, nil) // was killed, and err says why
		return err
	}
	peak, signal := uint64(0), 0
	for first := true; ; first = false {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(pid, &status, 0, nil); errors.Is(err, syscall.EINTR) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("wait for %s: %w", argv[0], err)
		}
		if !status.Stopped() {
			return peak, ctx.Err()
		}
		switch {
		case first: // stopped after exec
			signal = 0
			if err := syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACEEXIT|unix.PTRACE_O_EXITKILL); err != nil {
				return 0, abandon(fmt.Errorf("trace %s: %w", argv[0], err))
			}
		case status.TrapCause() == unix.PTRACE_EVENT_EXIT:
			signal = 0
			peak = highWater(pid)
		default:
			signal = int(status.StopSignal())
		}
		if err := syscall.PtraceCont(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) { // ESRCH: killed meanwhile
			return 0, abandon(fmt.Errorf("continue %s: %w", argv[0], err))
		}
	}
}

// highWater is VmHWM of a process, 0 where it can't be read.
func highWater(pid int) uint64 {
	status, err := readText(root(), fmt.Sprintf("proc/%d/status", pid))
	if err != nil {
		return 0
	}
	n, _ := kilobytes(statusFields(status)["VmHWM"])
	return n
}

// fillIn puts files that measure brings along in the place of their names.
func fillIn(argv []string) (filled []string, remove func(), err error) {
	if !slices.Contains(argv, emptyWasm) {
		return argv, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "labprobe-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // in a temporary place
	file := filepath.Join(dir, "empty.wasm")
	if err := os.WriteFile(file, emptyModule, 0o600); err != nil {
		remove()
		return nil, nil, err
	}
	filled = slices.Clone(argv)
	for i, a := range filled {
		if a == emptyWasm {
			filled[i] = file
		}
	}
	return filled, remove, nil
}
