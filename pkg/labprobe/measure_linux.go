package labprobe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// run is one run of a program.
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
	for range o.warmup {
		if _, err := timeProgram(ctx, o.argv, nil); err != nil {
			return nil, err
		}
	}
	var walls, cpus []float64
	var ends []string
	failures, failure := 0, ""
	for range o.n {
		t, err := timeProgram(ctx, o.argv, nil)
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
	// Looking at memory costs the program time, so it has a run of its own.
	peak := uint64(0)
	if _, err := timeProgram(ctx, o.argv, func(pid int) { peak = max(peak, peakMemory(pid)) }); err != nil {
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
	if peak > 0 {
		r.put("rss.max", bytesQuantity(peak), "file", "/proc/PID/status VmHWM of "+line)
	}
	return r.result()
}

// timeProgram runs argv once. A program that fails is a result; one that
// can't be started is an error. watch, if any, is called again and again
// while the program runs.
func timeProgram(ctx context.Context, argv []string, watch func(pid int)) (timedRun, error) {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = time.Second // a daemon that it leaves may hold its output open
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return timedRun{}, fmt.Errorf("start %s: %w", argv[0], err)
	}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for watch != nil {
			select {
			case <-done:
				return
			default:
				watch(cmd.Process.Pid)
				time.Sleep(200 * time.Microsecond)
			}
		}
	}()
	err := cmd.Wait()
	wall := time.Since(start)
	close(done)
	<-stopped
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return timedRun{}, fmt.Errorf("run %s: %w", argv[0], err)
	}
	if err := ctx.Err(); err != nil {
		return timedRun{}, err
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

// peakMemory is VmHWM of a process, 0 where it can't be read. rusage won't do:
// its maximum includes the parent's memory, which a child has until exec.
func peakMemory(pid int) uint64 {
	status, err := readText(root(), fmt.Sprintf("proc/%d/status", pid))
	if err != nil {
		return 0
	}
	n, _ := kilobytes(statusFields(status)["VmHWM"])
	return n
}
