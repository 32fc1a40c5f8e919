package gomodule

import (
	"fmt"
	"os"
	"runtime"

	"github.com/prometheus/procfs"
)

// collectAt is a GOGC for the compiler and the linker, which are short-lived and
// spend a quarter of their time in the garbage collector at the default of 100.
const collectAt = 800

// Compiler is the environment in which Go compiles faster where there is memory
// for it: GOGC, and a GOMEMLIMIT that keeps the compilers that run at a time
// (one for each CPU, go help build, -p) within what is available. It is empty
// where the user has set either (https://go.dev/doc/gc-guide), or where it isn't
// known how much memory there is. What is compiled is the same.
func Compiler() []string {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return compiler(available(), runtime.NumCPU())
}

// leastLimit is below what a linker keeps of a large program: under it the
// garbage collector would run all the time.
const leastLimit = 1 << 30

// compiler is Compiler by the bytes of memory available.
func compiler(available uint64, cpus int) []string {
	limit := available / uint64(cpus+1) // what else runs takes the rest
	if limit < leastLimit {
		return nil
	}
	return []string{fmt.Sprintf("GOGC=%d", collectAt), fmt.Sprintf("GOMEMLIMIT=%dMiB", limit>>20)}
}

// available is MemAvailable of proc_meminfo(5) in bytes, 0 where there is none.
func available() uint64 {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	m, err := proc.Meminfo()
	if err != nil || m.MemAvailableBytes == nil {
		return 0
	}
	return *m.MemAvailableBytes
}
