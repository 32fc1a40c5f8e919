package labprobe

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// license of the programs, which are the instructions in this package and
// nothing else. The kernel lets only GPL-compatible programs read its
// structures (linux/license.h), so they are offered under both.
const license = "Dual MIT/GPL"

// memlock lifts the limit that kernels before 5.11 account maps to.
var memlock = sync.OnceValue(rlimit.RemoveMemlock)

// bpfError tells what the host lacks from what broke.
func bpfError(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return evidence.Untestablef("%s needs root, or CAP_BPF and CAP_PERFMON: %v", what, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return evidence.Untestablef("%s: this kernel can't: %v", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// tracer is a program on a tracepoint.
type tracer struct {
	program *ebpf.Program
	link    link.Link
}

func (t *tracer) close() {
	// Closing the last reference detaches; the kernel does it at exit, too.
	_ = t.link.Close()
	_ = t.program.Close()
}

// trace attaches a program to a tracepoint; build makes it from the event's
// format. Tracefs is mounted where it isn't, for this thread alone.
func trace(group, event string, build func(eventFormat) (asm.Instructions, error)) (*tracer, error) {
	if err := memlock(); err != nil {
		return nil, bpfError("memory for eBPF", err)
	}
	return onThread(func() (*tracer, error) {
		root, err := tracefs()
		if err != nil {
			return nil, err
		}
		f, err := os.Open(filepath.Join(root, "events", group, event, "format"))
		if errors.Is(err, os.ErrNotExist) {
			return nil, evidence.Untestablef("this kernel has no tracepoint %s:%s", group, event)
		}
		if err != nil {
			return nil, fmt.Errorf("format of tracepoint %s:%s: %w", group, event, err)
		}
		defer func() { _ = f.Close() }()
		text, err := io.ReadAll(f)
		if err != nil {
			return nil, fmt.Errorf("format of tracepoint %s:%s: %w", group, event, err)
		}
		format, err := parseEventFormat(string(text))
		if err != nil {
			return nil, fmt.Errorf("format of tracepoint %s:%s: %w", group, event, err)
		}
		instructions, err := build(format)
		if err != nil {
			return nil, fmt.Errorf("tracepoint %s:%s: %w", group, event, err)
		}
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.TracePoint, Instructions: instructions, License: license})
		if err != nil {
			return nil, bpfError("load a tracepoint program", err)
		}
		l, err := link.Tracepoint(group, event, program, nil)
		if err != nil {
			_ = program.Close() // it is attached nowhere
			return nil, bpfError("attach to tracepoint "+group+":"+event, err)
		}
		return &tracer{program, l}, nil
	})
}

// tracefs returns where tracefs is. Where it isn't mounted it is mounted at
// its usual place in a mount namespace of the calling thread, which must be
// one of onThread; the mount goes with the thread.
func tracefs() (string, error) {
	const root = "/sys/kernel/tracing"
	for _, dir := range []string{root, "/sys/kernel/debug/tracing"} {
		if _, err := os.Stat(filepath.Join(dir, "events")); err == nil {
			return dir, nil
		}
	}
	if _, err := os.Stat(root); err != nil {
		return "", evidence.Untestablef("this kernel has no tracing: %v", err)
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", evidence.Untestablef("tracefs isn't mounted, and mounting it needs CAP_SYS_ADMIN: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("tracefs", root, "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", evidence.Untestablef("tracefs can't be mounted here: %v", err)
	}
	return root, nil
}

// load reads a field of the event (in R1) into dst.
func (f eventField) load(dst asm.Register) asm.Instruction {
	size := map[int]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word, 8: asm.DWord}[f.size]
	return asm.LoadMem(dst, asm.R1, int16(f.offset), size)
}
