package labprobe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/hypervisor"
)

var (
	runHardware  = func(context.Context, []string) (evidence.Set, error) { return hardwareHere() }
	runKernelLog = func(_ context.Context, args []string) (evidence.Set, error) { return kernelLogHere(args) }
	runTracing   = func(_ context.Context, args []string) (evidence.Set, error) { return tracingHere(args) }
)

func hardwareHere() (evidence.Set, error) {
	return measureHardware(root(), hypervisor.ReadCPUID())
}

func kernelLogHere(args []string) (evidence.Set, error) {
	// syslog(2) reads its whole buffer from the newest message backwards: it
	// drops the oldest if the buffer is too small.
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, untestableLog(err)
	}
	log := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return nil, untestableLog(err)
	}
	return measureKernelLog(args, log[:n])
}

func untestableLog(err error) error {
	return evidence.Untestablef("the kernel's log can't be read here: syslog(2): %v (kernel.dmesg_restrict, or no CAP_SYSLOG)", err)
}

func tracingHere(args []string) (evidence.Set, error) {
	t, err := parseTracing(args)
	if err != nil {
		return nil, err
	}
	var tracefs fs.FS
	if len(t.events) > 0 {
		dir, err := openTracefs()
		if err != nil {
			return nil, err
		}
		defer func() { _ = dir.Close() }() // only ever read
		tracefs = os.DirFS(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
		defer runtime.KeepAlive(dir)
	}
	var kallsyms []byte
	if len(t.symbols) > 0 {
		kallsyms, err = os.ReadFile("/proc/kallsyms")
		if err != nil {
			return nil, evidence.Untestablef("the kernel shows no symbols here: %v (CONFIG_KALLSYMS)", err)
		}
	}
	return measureTracing(args, tracefs, kallsyms)
}

// openTracefs opens the tracefs that is mounted, or else mounts one for this
// file descriptor alone (fsopen(2), fsmount(2)): nobody else sees it, and it
// goes when the descriptor is closed.
func openTracefs() (*os.File, error) {
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(dir + "/events"); err == nil {
			return os.Open(dir)
		}
	}
	fd, err := detachedMount("tracefs")
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, evidence.Untestablef("the kernel has no tracefs (CONFIG_TRACING)")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
		return nil, evidence.Untestablef("no tracefs is mounted, and mounting one failed: %v; run as root, or mount it: mount -t tracefs tracefs /sys/kernel/tracing", err)
	case err != nil:
		return nil, fmt.Errorf("mount tracefs: %w", err)
	}
	return os.NewFile(uintptr(fd), "tracefs"), nil
}

func detachedMount(kind string) (int, error) {
	context, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(context) }() // the mount keeps what it needs
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, err
	}
	return unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}
