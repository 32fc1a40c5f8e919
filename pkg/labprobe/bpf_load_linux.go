package labprobe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runBPFLoad(ctx context.Context, args []string) (evidence.Set, error) {
	p, err := parseBPFLoad(args)
	if err != nil {
		return nil, err
	}
	outputs, err := bpfLoadOutputs(args)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, evidence.Untestablef("bpf-load becomes several users, so it needs root; it runs as uid %d", os.Geteuid())
	}
	if err := memlock(); err != nil {
		return nil, bpfError("memory for eBPF", err)
	}
	r := newRecord(outputs)
	const sysctl = "/proc/sys/kernel/unprivileged_bpf_disabled"
	text, err := os.ReadFile(sysctl)
	if err != nil {
		return nil, evidence.Untestablef("no eBPF syscall to try: %v", err)
	}
	disabled, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sysctl, err)
	}
	r.put("unprivileged_bpf_disabled", disabled, "file", sysctl)
	for _, u := range bpfUsers {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		name, err := onThread(func() (string, error) {
			if u.user {
				if err := becomeUser(p.uid, u.capabilities); err != nil {
					return "", err
				}
			}
			return loadErrno()
		})
		if err != nil {
			return nil, fmt.Errorf("as %s: %w", u.doc, err)
		}
		r.put(u.name+".loads", name == "", "syscall", "bpf(BPF_PROG_LOAD, TRACEPOINT)")
		r.put(u.name+".errno", name, "syscall", "bpf(BPF_PROG_LOAD, TRACEPOINT)")
	}
	return r.result()
}

// loadErrno loads the smallest tracing program and names the error.
func loadErrno() (string, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.TracePoint,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      license,
	})
	if err == nil {
		return "", program.Close()
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return "", fmt.Errorf("load a program: %w", err)
	}
	return symbol(errno), nil
}

// capability numbers of linux/capability.h.
var capabilityNumbers = map[string]uint{"PERFMON": unix.CAP_PERFMON, "BPF": unix.CAP_BPF}

// becomeUser makes the calling thread, which must be one of onThread, a user
// with nothing but the named capabilities. The raw calls change this thread
// alone; Go's own change the process.
func becomeUser(uid int, capabilities []string) error {
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_KEEPCAPS: %w", err)
	}
	id := uintptr(uid)
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESGID, id, id, id); errno != 0 {
		return fmt.Errorf("setresgid: %w", errno)
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, id, id, id); errno != 0 {
		return fmt.Errorf("setresuid: %w", errno)
	}
	// Version 3 has two 32 bit words for each set (capset(2)).
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, name := range capabilities {
		n := capabilityNumbers[name]
		data[n/32].Effective |= 1 << (n % 32)
		data[n/32].Permitted |= 1 << (n % 32)
	}
	if _, _, errno := syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0); errno != 0 {
		return fmt.Errorf("capset %q: %w", capabilities, errno)
	}
	return nil
}
