package lifecycle

import (
	"context"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/microvm"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// MicroVM prepares what microVMs boot from: a kernel of the Debian release
// that is pinned, and labprobe as its first process.
func MicroVM(ctx context.Context, debianMirror string, log progress.Log) (*probe.MicroVM, error) {
	pins, err := images.ReadPins()
	if err != nil {
		return nil, err
	}
	program, err := payload.Labprobe()
	if err != nil {
		return nil, err
	}
	cache, err := artifact.Default()
	if err != nil {
		return nil, err
	}
	return microvm.Prepare(ctx, microvm.Options{
		Cache: cache, Suite: pins.Debian.Suite, Labprobe: program, Log: log,
		Apt: func(ctx context.Context) (microvm.Apt, error) {
			return openApt(ctx, cache, debianMirror, log)
		},
	})
}
