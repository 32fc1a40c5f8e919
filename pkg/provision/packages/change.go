package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// change runs f, which changes what is installed, once no other package
// manager is at work and what an interrupted labctl left is repaired.
func change(ctx context.Context, m machine.Machine, log progress.Log, f func() error) error {
	if err := waitForDpkg(ctx, m, log); err != nil {
		return err
	}
	if err := repair(ctx, m, log); err != nil {
		return err
	}
	if err := errors.Join(clean(ctx, m), mark(m)); err != nil {
		return fmt.Errorf("labctl's folder on this machine: %w; run labctl as root", err)
	}
	err := f()
	// The mark stays where dpkg was left in the middle, and with it the files
	// that the repair needs.
	ctx = context.WithoutCancel(ctx)
	broken, brokenErr := interrupted(ctx, m)
	if brokenErr == nil && broken == "" {
		err = errors.Join(err, unmark(m), clean(ctx, m))
	}
	return err
}

// mark makes the folder that says so, which is also where apt's temporary
// files go: those of a killed apt go with it.
func mark(m machine.Machine) error { return os.MkdirAll(m.Path(started), 0o755) }

func marked(m machine.Machine) bool {
	_, err := os.Stat(m.Path(started))
	return err == nil
}

func unmark(m machine.Machine) error {
	err := os.RemoveAll(m.Path(started))
	_ = os.Remove(m.Path(dir)) // stays unless it is empty
	return err
}

// repair ends what dpkg was interrupted in, if labctl had started it.
func repair(ctx context.Context, m machine.Machine, log progress.Log) error {
	broken, err := interrupted(ctx, m)
	if err != nil || broken == "" {
		return err
	}
	if !marked(m) {
		return fmt.Errorf("dpkg was interrupted on this machine, and not by labctl; run `dpkg --configure --pending` (apt-get install --fix-broken if that isn't enough), then the same command again: %s", broken)
	}
	log.Info("labctl was interrupted while dpkg was at work; dpkg --configure --pending ends that")
	// Packages whose dependencies aren't there yet can't be configured, and
	// dpkg fails; the second time, and apt afterwards, have more.
	if err := dpkg(ctx, m, log, "--configure", "--pending"); err != nil {
		return err
	}
	half, err := inState(ctx, m, halfInstalled)
	if err != nil {
		return err
	}
	for _, name := range half {
		deb := find(m, name)
		if deb == "" {
			continue
		}
		if err := dpkg(ctx, m, log, "--unpack", deb); err != nil {
			return err
		}
	}
	if len(half) == 0 {
		return nil
	}
	return dpkg(ctx, m, log, "--configure", "--pending")
}

// find gives the file from which apt had a package unpacked; "" if it is gone.
func find(m machine.Machine, name string) string {
	for _, folder := range []string{scratch + "/repository", scratch + "/archives", "/var/cache/apt/archives"} {
		found, err := filepath.Glob(m.Path(path.Join(folder, name+"_*.deb")))
		if err == nil && len(found) > 0 {
			return path.Join(folder, path.Base(found[0]))
		}
	}
	return ""
}

// dpkg runs dpkg, whose exit code is no error: what it couldn't do shows in
// the states of the packages, and its output is in the log.
func dpkg(ctx context.Context, m machine.Machine, log progress.Log, args ...string) error {
	argv := append([]string{"dpkg", "--force-confdef", "--force-confold"}, args...)
	_, err := m.Run(ctx, machine.Command{Argv: argv, Env: environment, Log: log.Output()})
	if err != nil {
		return fmt.Errorf("repair dpkg's state: %w", err)
	}
	return nil
}

// inState gives the packages that are in one of the states.
func inState(ctx context.Context, m machine.Machine, wanted ...string) ([]string, error) {
	states, err := status(ctx, m)
	var out []string
	for name, state := range states {
		if slices.Contains(wanted, state) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, err
}

// interrupted says in what dpkg was interrupted; "" if it wasn't. The journal
// is what apt looks at (updates/, dpkg's internals).
func interrupted(ctx context.Context, m machine.Machine) (string, error) {
	journal, err := os.ReadDir(m.Path("/var/lib/dpkg/updates"))
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	for _, f := range journal {
		if strings.Trim(f.Name(), "0123456789") == "" {
			return "its journal /var/lib/dpkg/updates isn't empty", nil
		}
	}
	// The states in which an interrupted dpkg leaves packages (dpkg(1)).
	half, err := inState(ctx, m, halfInstalled, "unpacked", "half-configured")
	return strings.Join(half, ", "), err
}

// locks are the files that dpkg and its frontends lock while they work
// (dpkg's doc/frontend.txt).
var locks = []string{"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock"}

// waitForDpkg waits until no other package manager is at work.
func waitForDpkg(ctx context.Context, m machine.Machine, log progress.Log) error {
	said := false
	for {
		holder, err := holder(m)
		if err != nil || holder == "" {
			return err
		}
		if !said {
			log.Info("Another package manager is at work (%s); waiting for it to end", holder)
			said = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another package manager (%s) holds dpkg's lock: %w", holder, ctx.Err())
		case <-time.After(time.Second):
		}
	}
}

// holder names the process that holds one of dpkg's locks (fcntl(2)); "" if
// none does.
func holder(m machine.Machine) (string, error) {
	for _, path := range locks {
		f, err := os.OpenFile(m.Path(path), os.O_RDWR, 0)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("dpkg's lock: %w; run labctl as root", err)
		}
		l := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
		err = syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &l)
		_ = f.Close() // nothing was written, and labctl holds no lock on it
		if err != nil {
			return "", fmt.Errorf("dpkg's lock %s: %w", path, err)
		}
		if l.Type != syscall.F_UNLCK {
			return named(m, int(l.Pid)), nil
		}
	}
	return "", nil
}

func named(m machine.Machine, pid int) string {
	comm, err := m.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil { // ended meanwhile, or of another pid namespace
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s, process %d", strings.TrimSpace(string(comm)), pid)
}
