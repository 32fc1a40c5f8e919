//go:build !linux

package labprobe

import (
	"context"
	"runtime"
)

const allocateCall = "memory.grow by Go's allocator"

// allocateInChild does nothing: no cgroup is there that would kill the child.
func allocateInChild(context.Context, uint64) {}

// allocate makes a slice; where the host refuses, Go's runtime ends the
// program.
func allocate(n uint64) (release func(), err error) {
	b := make([]byte, n)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return func() { runtime.KeepAlive(b) }, nil
}
