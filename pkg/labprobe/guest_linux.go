package labprobe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var runInit = func(ctx context.Context, _ []string) (evidence.Set, error) { return nil, guestInit(ctx) }

// guestCommand is Main. The command table refers to runInit, which runs
// commands of the table: Go allows that circle only if it is closed here.
var guestCommand func(ctx context.Context, args []string)

func init() {
	guestCommand = func(ctx context.Context, args []string) {
		Main(ctx, args, os.Stdout, os.Stderr) // the report says how it went
	}
}

// guestInit returns only if something is wrong; the kernel then panics for
// want of its first process, and the machine ends.
func guestInit(ctx context.Context) error {
	uptime, err := monotonic()
	if err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("labprobe init is the first process of microVMs that labctl boots, and this is process " + fmt.Sprint(os.Getpid()))
	}
	// The first process of a container has a /proc already: nothing must be
	// mounted there.
	cmdline, err := os.ReadFile("/proc/cmdline")
	if errors.Is(err, os.ErrNotExist) {
		if err = mountGuest("proc", "/proc"); err == nil {
			cmdline, err = os.ReadFile("/proc/cmdline")
		}
	}
	if err != nil {
		return err
	}
	order, err := parseKernelArguments(string(cmdline))
	if err != nil {
		return err
	}
	if len(order.Args) == 0 || order.Args[0] == "init" {
		return fmt.Errorf("the kernel command line orders %q; want a command that measures", order.Args)
	}
	for _, m := range []struct{ kind, dir string }{{"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}} {
		if err := mountGuest(m.kind, m.dir); err != nil {
			return err
		}
	}
	ready := GuestReady{Guest: Version, Uptime: uptime}
	ready.Modules, ready.Failed = loadModules(path.Join("/", GuestModules, order.Modules))
	// From here on the kernel's messages must not cut the lines.
	if _, err := unix.Klogctl(unix.SYSLOG_ACTION_CONSOLE_OFF, nil); err != nil {
		return fmt.Errorf("silence the kernel on the console: %w", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	waitForDisks(ctx, order.Disks)
	guestCommand(ctx, order.Args)
	return restart()
}

// restart ends the machine once the console has sent everything: QEMU runs
// with -no-reboot.
func restart() error {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1) // tcdrain(3); no terminal, nothing to drain
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("reboot(2): %w", err)
	}
	select {} // the machine is going down
}

func monotonic() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0, fmt.Errorf("clock_gettime(2): %w", err)
	}
	return time.Duration(t.Nano()), nil
}

func mountGuest(kind, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount(kind, dir, kind, unix.MS_NOSUID, "")
	if err != nil && !errors.Is(err, unix.EBUSY) { // EBUSY: it is mounted
		return fmt.Errorf("mount %s on %s: %w", kind, dir, err)
	}
	return nil
}

// loadModules loads what fits the machine; a driver whose devices are missing
// loads all the same.
func loadModules(dir string) (loaded, failed []string) {
	files, _ := filepath.Glob(path.Join(dir, "*.ko")) // the pattern is right; no folder, no modules
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".ko")
		if err := loadModule(file); err != nil && !errors.Is(err, unix.EEXIST) {
			failed = append(failed, name+": "+err.Error())
			continue
		}
		loaded = append(loaded, name)
	}
	return loaded, failed
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only ever read
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// waitForDisks gives the kernel 5 s to find the disks; if it doesn't, the
// command's evidence shows it.
func waitForDisks(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for len(classDevices(root(), "sys/block")) < n && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
}
