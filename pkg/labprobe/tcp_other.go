//go:build !linux

package labprobe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Only Linux has these.
var runTCPServe, runTCPDial, runTCPSelf, runSockets,
	runConntrackExhaust, runFlowJoin, runConntrackFull,
	runServe, runGet, runDNS, runConnect func(context.Context, []string) (evidence.Set, error)
