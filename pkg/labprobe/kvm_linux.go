package labprobe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const kvmDevice = "/dev/kvm"

// ioctl requests on /dev/kvm and capabilities, linux/kvm.h.
const (
	kvmGetAPIVersion  = 0xae00
	kvmCheckExtension = 0xae03

	kvmCapNRVCPUs     = 9
	kvmCapIRQFD       = 32
	kvmCapIOEventFD   = 36
	kvmCapMaxVCPUs    = 66
	kvmCapNestedState = 157
)

// kvmChild is the name that labprobe starts itself under to run the virtual
// machine: a KVM that hangs must take only that process with it.
const kvmChild = "labprobe-kvm-machine"

// This runs in every program that links labprobe (labprobe itself, labctl,
// tests), because any of them may be the one that started the child.
func init() {
	if len(os.Args) == 1 && os.Args[0] == kvmChild {
		// Should the parent be killed before it can kill this process.
		time.AfterFunc(2*kvmTimeoutMax, func() { os.Exit(1) })
		kvmMachine(os.Stdout)
		os.Exit(0)
	}
}

var runKVM = func(ctx context.Context, args []string) (evidence.Set, error) {
	k, err := parseKVM(args)
	if err != nil {
		return nil, err
	}
	return measureKVM(ctx, k, kvmDevice)
}

func measureKVM(ctx context.Context, k kvmArgs, device string) (evidence.Set, error) {
	outputs := kvmDeviceOutputs
	if k.asUID < 0 {
		outputs = append(append([]evidence.Output{}, outputs...), kvmMachineOutputs...)
	}
	r := newRecord(outputs)
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, evidence.Untestablef("there is no %s here: no KVM in the kernel, or not shown to this place", device)
		}
		return nil, fmt.Errorf("stat %s: %w", device, err)
	}
	r.put("device.mode", fmt.Sprintf("%04o", st.Mode&0o7777), "file", device)
	r.put("device.uid", int64(st.Uid), "file", device)
	r.put("device.gid", int64(st.Gid), "file", device)

	if k.asUID >= 0 {
		errno, err := openAs(k.asUID, device)
		if err != nil {
			return nil, err
		}
		recordOpen(r, k.asUID, errno, device)
		return r.result()
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, evidence.Untestablef("open %s: %v; run as root or as a member of its group", device, err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	recordOpen(r, os.Getuid(), nil, device)
	version, err := ioctl(fd, kvmGetAPIVersion, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: KVM_GET_API_VERSION: %w; it is no KVM device", device, err)
	}
	r.put("kvm.api_version", version, "ioctl", "KVM_GET_API_VERSION")
	for _, c := range []struct {
		output, name string
		number       uintptr
		count        bool
	}{
		{"kvm.irqfd", "KVM_CAP_IRQFD", kvmCapIRQFD, false},
		{"kvm.ioeventfd", "KVM_CAP_IOEVENTFD", kvmCapIOEventFD, false},
		{"kvm.nested_state", "KVM_CAP_NESTED_STATE", kvmCapNestedState, false},
		{"kvm.vcpus", "KVM_CAP_NR_VCPUS", kvmCapNRVCPUs, true},
		{"kvm.vcpus_max", "KVM_CAP_MAX_VCPUS", kvmCapMaxVCPUs, true},
	} {
		n, err := ioctl(fd, kvmCheckExtension, c.number)
		if err != nil {
			return nil, fmt.Errorf("KVM_CHECK_EXTENSION %s: %w", c.name, err)
		}
		var value any = n > 0
		if c.count {
			value = n
		}
		r.put(c.output, value, "ioctl", "KVM_CHECK_EXTENSION "+c.name)
	}
	run, err := runKVMChild(ctx, k.timeout, &exec.Cmd{Path: "/proc/self/exe", Args: []string{kvmChild}, Env: []string{}})
	if err != nil {
		return nil, err
	}
	r.put("run.outcome", run.Outcome, "ioctl", "KVM_RUN")
	r.put("run.detail", run.Detail, "ioctl", "KVM_RUN")
	r.put("run.stage", run.Stage, "program", "the process that runs the virtual machine")
	r.put("run.exit_reason", run.Reason, "ioctl", "KVM_RUN exit_reason")
	r.put("run.port", run.Port, "ioctl", "KVM_RUN KVM_EXIT_IO")
	r.put("run.memory", run.Memory, "program", "guest physical memory")
	r.put("run.time", run.Time, "clock", "monotonic")
	return r.result()
}

func recordOpen(r *record, uid int, err error, device string) {
	name := ""
	if err != nil {
		name = errnoName(err)
	}
	r.put("open.uid", uid, "program", "own user, or --as-uid")
	r.put("open.allowed", err == nil, "syscall", "open(2) "+device)
	r.put("open.errno", name, "syscall", "open(2) "+device)
}

// openAs opens a device as another user without groups, on a thread of its
// own, because the thread can't get its old rights back. The first result is
// how open(2) went, the second how getting there went.
func openAs(uid int, device string) (opened, err error) {
	return onThread(func() (opened, err error) {
		// The raw calls change this thread alone; unix.Setresuid would change
		// every thread of the process.
		steps := []struct {
			name       string
			number     uintptr
			a1, a2, a3 uintptr
		}{
			{"setgroups(2)", unix.SYS_SETGROUPS, 0, 0, 0},
			{"setresgid(2)", unix.SYS_SETRESGID, uintptr(uid), uintptr(uid), uintptr(uid)},
			{"setresuid(2)", unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		}
		for _, s := range steps {
			if _, _, errno := unix.RawSyscall(s.number, s.a1, s.a2, s.a3); errno != 0 {
				return nil, evidence.Untestablef("becoming user %d: %s: %v; run as root", uid, s.name, errno)
			}
		}
		fd, opened := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if opened == nil {
			_ = unix.Close(fd) // nothing was written
		}
		return opened, nil
	})
}

func ioctl(fd int, request, arg uintptr) (int64, error) {
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, arg)
	if errno != 0 {
		return 0, errno
	}
	return int64(n), nil
}

// runKVMChild runs the virtual machine in a process of its own and kills that
// after the timeout.
func runKVMChild(ctx context.Context, timeout time.Duration, cmd *exec.Cmd) (kvmRun, error) {
	stdout, child, err := os.Pipe()
	if err != nil {
		return kvmRun{}, err
	}
	defer func() { _ = stdout.Close() }() // read to its end, or given up
	cmd.Stdout = child
	start := time.Now()
	err = cmd.Start()
	_ = child.Close() // the child has its own
	if err != nil {
		return kvmRun{}, fmt.Errorf("start the process of the virtual machine: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	timedOut := false
	var exit error
	select {
	case exit = <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		return kvmRun{}, ctx.Err()
	case <-timer.C:
		timedOut = true
		_ = cmd.Process.Kill()
		select {
		case exit = <-ended:
		case <-time.After(time.Second):
			exit = errors.New("and doesn't die of SIGKILL")
		}
	}
	elapsed := time.Since(start)
	// What was printed is in the pipe; a child that can't be killed holds the
	// pipe open, so reading must not wait for its end.
	_ = stdout.SetReadDeadline(time.Now().Add(time.Second))
	run, err := lastKVMRun(stdout)
	if err != nil {
		return kvmRun{}, fmt.Errorf("%s: %w", kvmChild, errors.Join(err, exit))
	}
	switch {
	case timedOut:
		run.Outcome, run.Time = kvmTimedOut, elapsed
		run.Detail = fmt.Sprintf("hung at stage %s, killed after %s (%v)", run.Stage, timeout, exit)
	case exit != nil && run.Outcome == "":
		run.Outcome, run.Time = kvmFailed, elapsed
		run.Detail = fmt.Sprintf("died at stage %s: %v", run.Stage, exit)
	}
	return run, nil
}

func lastKVMRun(r io.Reader) (kvmRun, error) {
	var run kvmRun
	s := bufio.NewScanner(r)
	seen := false
	for s.Scan() {
		if err := json.Unmarshal(s.Bytes(), &run); err != nil {
			return run, fmt.Errorf("unreadable line %.100q: %w", s.Text(), err)
		}
		seen = true
	}
	if !seen {
		return run, errors.New("printed nothing")
	}
	return run, nil
}
