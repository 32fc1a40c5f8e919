package labprobe

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// rawCall is one system call by number.
type rawCall struct {
	number uintptr
	args   [6]uintptr
}

// ended is how a forked child came to its end.
type ended struct {
	errno  syscall.Errno  // of the last call, or the first that failed; 0 for success
	signal syscall.Signal // 0 where it exited
}

// inChild makes the calls in a forked child and stops at the first that
// fails: what a call changes (user, root, filter, namespace) dies with the
// child. The child executes nothing but raw system calls, because of a Go
// process only the forking thread exists there. keep holds the memory that
// arguments point to.
func inChild(calls []rawCall, keep ...any) (ended, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := forkCalls(calls)
	runtime.KeepAlive(keep)
	if errno != 0 {
		return ended{}, fmt.Errorf("fork: %w", errno)
	}
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return ended{}, fmt.Errorf("wait for child %d: %w", pid, err)
		}
		break
	}
	if status.Signaled() {
		return ended{signal: status.Signal()}, nil
	}
	return ended{errno: syscall.Errno(status.ExitStatus())}, nil
}

// forkCalls returns in the parent alone. The child's exit code is the errno,
// of which Linux has fewer than 256.
//
//go:noinline
//go:norace
func forkCalls(calls []rawCall) (pid int, errno syscall.Errno) {
	r, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	if r != 0 {
		return int(r), 0
	}
	code := uintptr(0)
	for i := range calls {
		c := &calls[i]
		if _, _, e := unix.RawSyscall6(c.number, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5]); e != 0 {
			code = uintptr(e)
			break
		}
	}
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}
