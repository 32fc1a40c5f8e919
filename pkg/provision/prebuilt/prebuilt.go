package prebuilt

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// Digests are those of the artifacts' images, "sha256:…", by artifact.Key.ID.
type Digests map[string]string

// Push stores the parts' images, each under its artifact's ID as the tag, and
// gives their digests. What the cache doesn't have is made first.
func Push(ctx context.Context, to Store, parts []gomodule.Part, log progress.Log) (Digests, error) {
	digests := Digests{}
	for _, p := range parts {
		dir, err := p.Make(ctx)
		if err != nil {
			return nil, err
		}
		digest, err := push(ctx, to, p, dir, log)
		if err != nil {
			return nil, fmt.Errorf("push %s to %s: %w", p.Key.ID(), to, err)
		}
		digests[p.Key.ID()] = digest.String()
	}
	return digests, nil
}

func push(ctx context.Context, to Store, p gomodule.Part, dir string, log progress.Log) (digest v1.Hash, err error) {
	step := log.Start("Pushing " + p.Key.ID())
	defer func() { step.End(err) }()
	img, err := Image(dir)
	if err != nil {
		return digest, err
	}
	if digest, err = img.Digest(); err != nil {
		return digest, err
	}
	return digest, to.Put(ctx, p.Key.ID(), img)
}

// Pulled says what became of the parts, by their artifacts' IDs.
type Pulled struct {
	// Here were there before, Taken were pulled.
	Here, Taken []string
	// Unknown have no digest, Missing are not in the store: they are made when
	// they are needed.
	Unknown, Missing []string
}

// Pull fills the cache with the parts that it doesn't have. A store that
// doesn't answer ends it; one artifact that isn't what its digest says, or
// breaks off, doesn't keep the others from being taken: its error comes at the
// end, and nothing of it is in the cache.
func Pull(ctx context.Context, from Store, cache artifact.Cache, parts []gomodule.Part, known Digests, log progress.Log) (Pulled, error) {
	var out Pulled
	var failed []error
	for _, p := range parts {
		id := p.Key.ID()
		text, pinned := known[id]
		if cache.Has(p.Key) {
			out.Here = append(out.Here, id)
			continue
		}
		if !pinned {
			out.Unknown = append(out.Unknown, id)
			continue
		}
		digest, err := v1.NewHash(text)
		if err != nil {
			return out, fmt.Errorf("digest of %s: %w", id, err)
		}
		img, err := from.Get(ctx, digest)
		if errors.Is(err, errMissing) {
			out.Missing = append(out.Missing, id)
			continue
		}
		if err != nil {
			return out, errors.Join(append(failed, fmt.Errorf("pull %s from %s: %w", id, from, err))...)
		}
		if err := take(ctx, img, digest, cache, p, log); err != nil {
			failed = append(failed, fmt.Errorf("pull %s from %s: %w", id, from, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		out.Taken = append(out.Taken, id)
	}
	return out, errors.Join(failed...)
}

func take(ctx context.Context, img v1.Image, digest v1.Hash, cache artifact.Cache, p gomodule.Part, log progress.Log) (err error) {
	step := log.Start("Pulling " + p.Key.ID())
	defer func() { step.End(err) }()
	_, err = cache.Ensure(ctx, p.Key, func(ctx context.Context, dir string) error {
		return unpack(ctx, img, digest, dir, func(done, size int64) {
			step.Update(int(done>>20), int(size>>20), "MiB")
		})
	})
	return err
}
