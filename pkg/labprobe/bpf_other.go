//go:build !linux

package labprobe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Only Linux has these.
var runBPFLoad, runBPFOverhead, runBPFRetransmit, runBPFCookie,
	runThrottleGap, runBurn, runBPFVerify func(context.Context, []string) (evidence.Set, error)
