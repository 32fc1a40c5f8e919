package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// killOnce is a package's script that kills dpkg the first time that it runs.
const killOnce = `test -e /var/killed && exit 0; touch /var/killed; kill -9 $PPID`

// A package that dpkg was killed over while it unpacked it can be installed
// and be removed, although it is neither installed nor not.
func TestKilledUnpacking(t *testing.T) {
	ctx := context.Background()
	for name, next := range map[string]func(m machine.Machine, debs []string) error{
		"install": func(m machine.Machine, debs []string) error {
			return Install(ctx, m, []string{"tool"}, debs, progress.Discard)
		},
		"install, files gone": func(m machine.Machine, debs []string) error {
			if err := os.RemoveAll(m.Path(scratch)); err != nil {
				return err
			}
			return Install(ctx, m, []string{"tool"}, debs, progress.Discard)
		},
		"plan and install": func(m machine.Machine, debs []string) error {
			_, err := Plan(ctx, m, []string{"tool"}, debs)
			return errors.Join(err, Install(ctx, m, []string{"tool"}, debs, progress.Discard))
		},
		"remove": func(m machine.Machine, _ []string) error {
			return Remove(ctx, m, []string{"library", "tool"}, progress.Discard)
		},
		"remove, files gone": func(m machine.Machine, _ []string) error {
			if err := os.RemoveAll(m.Path(scratch)); err != nil {
				return err
			}
			return Remove(ctx, m, []string{"library", "tool"}, progress.Discard)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := privateMachine(t)
			debs := []string{debWithScript(t, m, "library", "1", "", "preinst", killOnce), deb(t, m, "tool", "1", "Depends: library\n")}
			if err := Install(ctx, m, []string{"tool"}, debs, progress.Discard); err == nil {
				t.Fatal("a killed dpkg is no error")
			}
			if err := next(m, debs); err != nil {
				t.Fatal(err)
			}
			want := []string{"library installed", "tool installed"}
			if strings.HasPrefix(name, "remove") {
				want = nil
			}
			equal(t, "then", list(t, m), want...)
			if left, _ := filepath.Glob(m.Path("/var/lib/labctl*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A dpkg that was killed is repaired if labctl had started it, and left to
// the user if not.
func TestKilledDpkg(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		ours bool
		want string // of the error
	}{
		"by labctl":  {true, ""},
		"by another": {false, "not by labctl"},
	} {
		t.Run(name, func(t *testing.T) {
			m := privateMachine(t)
			debs := []string{deb(t, m, "library", "1", ""), debWithScript(t, m, "tool", "1", "Depends: library\n", "postinst", killOnce)}
			if err := Install(ctx, m, []string{"tool"}, debs, progress.Discard); err == nil {
				t.Fatal("a killed dpkg is no error")
			}
			if missing, err := Missing(ctx, m, []string{"tool"}); err != nil || len(missing) != 1 {
				t.Errorf("half configured, but missing are %v, %v", missing, err)
			}
			if !c.ours {
				if err := os.RemoveAll(m.Path(dir)); err != nil {
					t.Fatal(err)
				}
			}
			before := list(t, m)
			err := Install(ctx, m, []string{"tool"}, debs, progress.Discard)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want it to say %q", err, c.want)
				}
				equal(t, "left alone", list(t, m), before...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "converged", list(t, m), "library installed", "tool installed")
			if err := os.MkdirAll(m.Path(scratch+"/lists"), 0o755); err != nil { // as a killed labctl leaves it
				t.Fatal(err)
			}
			if err := Remove(ctx, m, []string{"tool", "library"}, progress.Discard); err != nil {
				t.Fatal(err)
			}
			equal(t, "removed", list(t, m))
			if left, _ := filepath.Glob(m.Path("/var/lib/labctl*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A dpkg that was killed when everything was unpacked and configured still has
// a journal to end, and labctl does.
func TestKilledAtTheEnd(t *testing.T) {
	ctx := context.Background()
	m := privateMachine(t)
	tool := deb(t, m, "tool", "1", "")
	install(t, m, []string{"tool"}, tool)
	whole, err := m.ReadFile("/var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	journal := m.Path("/var/lib/dpkg/updates/0001")
	if err := errors.Join(os.WriteFile(journal, whole, 0o644), mark(m)); err != nil {
		t.Fatal(err)
	}
	missing, err := Missing(ctx, m, []string{"tool"})
	if err != nil || len(missing) != 1 {
		t.Fatalf("missing are %v, %v", missing, err)
	}
	if planned, err := Plan(ctx, m, missing, []string{tool}); err != nil || len(planned) != 0 {
		t.Errorf("planned are %v, %v", planned, err)
	}
	install(t, m, missing, tool)
	if _, err := os.Stat(journal); err == nil {
		t.Error("the journal is still there")
	}
	if missing, err := Missing(ctx, m, []string{"tool"}); err != nil || len(missing) != 0 {
		t.Errorf("then missing are %v, %v", missing, err)
	}
	// The same when what was killed goes on with Remove.
	if err := errors.Join(os.WriteFile(journal, whole, 0o644), mark(m)); err != nil {
		t.Fatal(err)
	}
	if err := Remove(ctx, m, []string{"never-there"}, progress.Discard); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(m.Path("/var/lib/labctl*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// infos keeps the status lines.
type infos struct {
	progress.Log
	mu    sync.Mutex
	lines []string
}

func (l *infos) Info(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// A package manager at work is waited for, by name, and is given up on when
// the context ends.
func TestHeldLock(t *testing.T) {
	m := privateMachine(t)
	tool := deb(t, m, "tool", "1", "")
	file := m.Path("/var/lib/dpkg/lock-frontend")
	if err := os.WriteFile(file, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	// A lock of fcntl(2) is one process's, so another one has to hold it.
	other := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	other.Env = append(os.Environ(), "LABCTL_TEST_LOCK="+file)
	in, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	log := &infos{Log: progress.Discard}
	done := make(chan error)
	go func() { done <- Install(ctx, m, []string{"tool"}, []string{tool}, log) }()
	for waiting := false; !waiting; time.Sleep(10 * time.Millisecond) {
		log.mu.Lock()
		waiting = len(log.lines) == 1 && strings.Contains(log.lines[0], fmt.Sprint(other.Process.Pid))
		log.mu.Unlock()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("given up with %v", err)
	}
	go func() { done <- Install(context.Background(), m, []string{"tool"}, []string{tool}, log) }()
	if err := errors.Join(in.Close(), other.Wait()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	equal(t, "installed", list(t, m), "tool installed")
}

// TestHolder is the other process of TestHeldLock: it holds the lock until
// its standard input ends.
func TestHolder(t *testing.T) {
	file := os.Getenv("LABCTL_TEST_LOCK")
	if file == "" {
		return // not started by TestHeldLock
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	fmt.Print("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it
}
