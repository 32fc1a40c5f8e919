//go:build !linux && !wasip1

package labprobe

import (
	"fmt"
	"syscall"
)

func symbol(errno syscall.Errno) string { return fmt.Sprintf("errno %d", int(errno)) }
