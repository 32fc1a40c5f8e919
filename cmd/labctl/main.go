// Command labctl turns technical documents into executable labs.
package main

import (
	"os"
	"runtime/debug"

	"github.com/isolation-stack/labctl/internal/cli"
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit(memory()))
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Main(os.Args[1:]))
}

// gcPercent lets the heap of a command that lives for a moment grow before it
// is collected (runtime/debug.SetGCPercent); memoryLimit bounds it.
const gcPercent = 300

// memoryLimit is where the garbage collector begins to work harder (the Go
// runtime's soft limit), on a machine with so much memory, all in bytes: on an
// edge box labctl is the guest, elsewhere its time counts.
func memoryLimit(machine uint64) int64 {
	return max(64<<20, int64(machine/64))
}
