package microvm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/labprobe"
)

// console is what a machine's serial console told.
type console struct {
	ready    labprobe.GuestReady
	bootTime time.Duration
	report   labprobe.Report
	rss      int64 // of QEMU, bytes; 0 if it had ended before it could be read
}

// bootError is a machine that didn't report.
type bootError struct {
	// ready says whether its user space had started.
	ready bool
	what  string
	tail  []string
}

func (e *bootError) Error() string {
	if len(e.tail) == 0 {
		return "the microVM " + e.what + "; its console is empty"
	}
	return "the microVM " + e.what + "; its console's last lines:\n  " + strings.Join(e.tail, "\n  ")
}

// reportPrefix begins a labprobe report.
const reportPrefix = `{"labprobe":`

// haltTime is how long a machine may take to end after its report.
const haltTime = 2 * time.Second

// run starts QEMU and follows its console until the guest has reported. No
// process is left, whatever happens: QEMU is killed when the context ends,
// after the limits, and by the kernel if this program dies.
func run(ctx context.Context, argv []string, readyLimit, limit time.Duration) (console, error) {
	q, err := start(argv)
	if err != nil {
		return console{}, err
	}
	defer q.end()
	end := time.NewTimer(limit)
	defer end.Stop()
	slow := time.NewTimer(readyLimit)
	defer slow.Stop()

	var c console
	var said tail
	isReady := false
	fail := func(format string, args ...any) (console, error) {
		return console{}, &bootError{isReady, fmt.Sprintf(format, args...), said.lines}
	}
	for {
		select {
		case <-ctx.Done():
			return console{}, ctx.Err()
		case <-end.C:
			return fail("didn't report within %s", limit)
		case <-slow.C:
			return fail("didn't start its first process within %s", readyLimit)
		case line, more := <-q.lines:
			if !more {
				return fail("ended before it reported (%v)", q.exit())
			}
			at := time.Since(q.started)
			if ready, ok := labprobe.ParseGuestReady(line); ok && !isReady {
				c.ready, c.bootTime, isReady = ready, at, true
				c.rss = residentMemory(q.cmd.Process.Pid)
				slow.Stop()
				continue
			}
			if i := strings.Index(line, reportPrefix); i >= 0 {
				if c.report, err = labprobe.Parse([]byte(line[i:])); err != nil {
					return console{}, err
				}
				// QEMU may have ended already; the reading before stands then.
				c.rss = max(c.rss, residentMemory(q.cmd.Process.Pid))
				q.wait(haltTime)
				return c, nil
			}
			said.add(line)
			if strings.HasPrefix(line, "KVM internal error") {
				return fail("was stopped by KVM")
			}
		}
	}
}

// qemu is a running QEMU.
type qemu struct {
	cmd     *exec.Cmd
	started time.Time
	lines   chan string
	stop    chan struct{}
	waited  chan struct{}
	err     error // valid once waited is closed
}

// start starts QEMU and gives its output line by line.
func start(argv []string) (*qemu, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	q := &qemu{cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string), stop: make(chan struct{}), waited: make(chan struct{})}
	q.cmd.Stdout, q.cmd.Stderr = w, w
	// A group of its own, so that Ctrl-C reaches labctl alone; it dies with it.
	q.cmd.SysProcAttr = bound()
	begun := make(chan error)
	go func() {
		// The kernel sends the death signal when the thread ends that
		// started the process, so this one must live as long as QEMU.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		q.started = time.Now()
		err := q.cmd.Start()
		_ = w.Close() // QEMU has its own
		begun <- err
		if err == nil {
			q.err = q.cmd.Wait()
			close(q.waited)
		}
	}()
	if err := <-begun; err != nil {
		_ = r.Close() // nothing was read
		return nil, fmt.Errorf("start QEMU: %w", err)
	}
	go q.read(r)
	return q, nil
}

// read passes lines on until QEMU has ended or nobody listens.
func (q *qemu) read(r *os.File) {
	defer close(q.lines)
	defer func() { _ = r.Close() }() // only ever read
	for b := bufio.NewReader(r); ; {
		line, err := b.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			select {
			case q.lines <- line:
			case <-q.stop:
				return
			}
		}
		if err != nil {
			return // io.EOF: QEMU has closed it
		}
	}
}

// wait waits for QEMU to end by itself.
func (q *qemu) wait(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-q.waited:
			return
		case <-timer.C:
			return
		case _, more := <-q.lines: // the kernel's last words
			if !more {
				<-q.waited
				return
			}
		}
	}
}

// exit says how QEMU ended, once its output has.
func (q *qemu) exit() string {
	<-q.waited
	if q.err != nil {
		return q.err.Error()
	}
	return "QEMU's exit code 0"
}

// end kills QEMU if it is still there and waits for it.
func (q *qemu) end() {
	close(q.stop)
	select {
	case <-q.waited:
		return
	default:
	}
	_ = q.cmd.Process.Kill() // it may have ended just now
	<-q.waited
}

// tail keeps the last lines of a console; when the guest's kernel panics, those
// before it and not the trace that follows.
type tail struct {
	lines  []string
	closed bool
}

const (
	tailLines = 15
	lineBytes = 300
)

func (t *tail) add(line string) {
	if t.closed {
		return
	}
	t.closed = strings.Contains(line, "Kernel panic")
	if len(line) > lineBytes {
		line = line[:lineBytes] + "…"
	}
	t.lines = append(t.lines, line)
	if len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

// residentMemory reads VmRSS (proc_pid_status(5)), in bytes; 0 for a process
// that has ended.
func residentMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil && n == 1 {
			return kib << 10
		}
	}
	return 0
}
