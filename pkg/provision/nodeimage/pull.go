package nodeimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/isolation-stack/labctl/pkg/process"
)

// errPull is a base image that could not be had from its registry.
var errPull = errors.New("pull failed")

// patience is how long a registry may take to answer with the manifest when
// there is another way to the base.
const patience = 20 * time.Second

// answered is what engines print once a registry has given the manifest:
// podman "Getting image source signatures", docker "…: Pulling from …",
// nerdctl "…: resolved".
var answered = regexp.MustCompile(`Getting image source signatures|Copying (blob|config)|Pulling (from|fs layer)|resolved|Status: `)

// pull has the engine pull the image, with its own mirrors and credentials.
// quick gives up early when no registry answers.
func (b *builder) pull(ctx context.Context, ref string, quick bool) (err error) {
	if _, err := b.engine.Run(ctx, "image", "inspect", "--format", "{{.Id}}", ref); err == nil {
		return nil
	}
	step := b.log.Start("Pulling " + ref)
	defer func() { step.End(err) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &pullWatch{found: make(chan struct{})}
	if quick {
		go func() {
			select {
			case <-w.found:
			case <-ctx.Done():
			case <-time.After(patience):
				cancel(fmt.Errorf("no answer within %v", patience))
			}
		}()
	}
	cmd := b.engine.Command("pull", ref)
	cmd.Log = io.MultiWriter(cmd.Log, w)
	if _, err := process.Run(ctx, cmd); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		return fmt.Errorf("%w: %s: %w", errPull, ref, err)
	}
	return nil
}

// pullWatch notices that the registry has answered.
type pullWatch struct {
	once  sync.Once
	found chan struct{}
}

func (w *pullWatch) Write(p []byte) (int, error) {
	if answered.Match(p) {
		w.once.Do(func() { close(w.found) })
	}
	return len(p), nil
}
