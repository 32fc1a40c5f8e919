//go:build !linux

package labprobe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Elsewhere there is no kernel to look at: a WASI module sees no hardware.
var runHardware, runKernelLog, runTracing, runKVM, runInit func(context.Context, []string) (evidence.Set, error)
