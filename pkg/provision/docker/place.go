package docker

import (
	"context"
	"io"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Unavailable is the place of a Docker that can't be had here; whatever runs
// there is untestable, with the reason.
func Unavailable(reason error) probe.Place { return unavailable{reason} }

type unavailable struct{ reason error }

func (unavailable) Name() string     { return "docker" }
func (unavailable) Labprobe() string { return "" }

func (u unavailable) Run(context.Context, io.Reader, ...string) (probe.Exit, error) {
	return probe.Exit{}, evidence.Untestablef("no Docker of labctl's own can run here: %v", u.reason)
}

// cleanup is a context for clearing up after ctx, which may have ended; with
// the command layer's 4 s for Ctrl-C there is room after it.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
}
