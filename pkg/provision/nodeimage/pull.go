package nodeimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// errPull is a base image that could not be had from its registry.
var errPull = errors.New("pull failed")

// answered is what engines print once a registry has given the manifest:
// podman "Getting image source signatures", docker "…: Pulling from …",
// nerdctl "…: resolved".
var answered = regexp.MustCompile(`Getting image source signatures|Copying (blob|config)|Pulling (from|fs layer)|resolved|Status: `)

// qualified spells a reference out: podman knows no short names unless it is
// told where to look for them, and wants a tag or a digest but not both.
func qualified(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("base image %q: %w", ref, err)
	}
	if digested, ok := named.(reference.Digested); ok {
		if named, err = reference.WithDigest(reference.TrimNamed(named), digested.Digest()); err != nil {
			return "", fmt.Errorf("base image %q: %w", ref, err)
		}
	}
	return reference.TagNameOnly(named).String(), nil
}

// pull has the engine pull the base image, with its own mirrors and
// credentials, and returns its full reference. quick gives up early when no
// registry answers.
func (b *builder) pull(ctx context.Context, quick bool) (ref string, err error) {
	if ref, err = qualified(b.baseReference()); err != nil {
		return "", err
	}
	if _, err := b.engine.Run(ctx, "image", "inspect", "--format", "{{.Id}}", ref); err == nil {
		return ref, nil
	}
	step := b.log.Start("Pulling " + ref)
	defer func() { step.End(err) }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &pullWatch{step: step, found: make(chan struct{})}
	if quick {
		go func() {
			select {
			case <-w.found:
			case <-ctx.Done():
			case <-time.After(b.patience):
				cancel(fmt.Errorf("no answer within %v", b.patience))
			}
		}()
	}
	argv := []string{"pull"}
	if b.engine.Name == engine.Podman && loopback(ref) {
		argv = append(argv, "--tls-verify=false") // as docker and nerdctl do there by themselves
	}
	cmd := b.engine.Command(append(argv, ref)...)
	cmd.Log = io.MultiWriter(b.log.Output(), w)
	if _, err := process.Run(ctx, cmd); err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
		return "", fmt.Errorf("%w: %s: %w", errPull, ref, err)
	}
	return ref, nil
}

// loopback says whether the registry of the reference is on this machine.
func loopback(ref string) bool {
	host, _, _ := strings.Cut(ref, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// pullWatch shows what the engine says, and notices that the registry answers.
type pullWatch struct {
	step  progress.Step
	once  sync.Once
	found chan struct{}
}

func (w *pullWatch) Write(p []byte) (int, error) {
	if answered.Match(p) {
		w.once.Do(func() { close(w.found) })
	}
	lines := strings.Split(strings.TrimSpace(string(p)), "\n")
	w.step.Update(0, 0, lines[len(lines)-1])
	return len(p), nil
}
