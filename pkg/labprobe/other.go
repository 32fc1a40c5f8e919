//go:build !linux

package labprobe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Commands that only Linux has.
var (
	runSyscalls, runSeccomp, runPrivileges, runFork, runThrottle, runSyscallBench, runMeasure func(context.Context, []string) (evidence.Set, error)
)
