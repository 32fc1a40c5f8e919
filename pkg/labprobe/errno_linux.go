package labprobe

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

func symbol(errno syscall.Errno) string {
	if errno == 0 {
		return ""
	}
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", int(errno))
}
