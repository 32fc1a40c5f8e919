// Command labctl turns technical documents into executable labs.
package main

import (
	"os"
	"runtime/debug"

	"github.com/isolation-stack/labctl/internal/cli"
)

// memoryLimit is where the garbage collector begins to work harder (the Go
// runtime's soft limit, in bytes): on an edge box labctl is the guest.
const memoryLimit = 64 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(cli.Main(os.Args[1:]))
}
