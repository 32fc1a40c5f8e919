package labprobe

import "golang.org/x/sys/unix"

func bareSyscall() error {
	_, _, _ = unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0) // always succeeds
	return nil
}
