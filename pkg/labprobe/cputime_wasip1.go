package labprobe

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 clock_time_get
//go:noescape
func clockTimeGet(id uint32, precision uint64, result unsafe.Pointer) syscall.Errno

const processCPUTimeClock = 2 // clockid process_cputime_id

// processCPUTime is the CPU time that the host says the process has had.
func processCPUTime() (time.Duration, error) {
	var ns uint64
	if errno := clockTimeGet(processCPUTimeClock, 1, unsafe.Pointer(&ns)); errno != 0 {
		return 0, fmt.Errorf("clock_time_get: %w", errno)
	}
	return time.Duration(ns), nil
}
