//go:build !wasip1

package labprobe

import (
	"fmt"
	"syscall"
	"time"
)

// processCPUTime is the CPU time that the whole process has had.
func processCPUTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
