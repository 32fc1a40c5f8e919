package prebuilt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/isolation-stack/labctl/pkg/provision/registry"
)

// Store is where images of artifacts lie.
type Store interface {
	// Get gives the image of a digest; errMissing if it isn't there. Its bytes
	// are not checked yet.
	Get(ctx context.Context, digest v1.Hash) (v1.Image, error)
	// Put stores an image under a tag.
	Put(ctx context.Context, tag string, img v1.Image) error
	// String is how a person named it.
	String() string
}

var errMissing = errors.New("not there")

// layoutPrefix is what containers-transports(5) calls a folder with the OCI
// image layout.
const layoutPrefix = "oci:"

// Open opens what a person names: HOST/PATH is a repository of a registry,
// oci:FOLDER a folder with the OCI image layout, which a Put makes.
func Open(where string) (Store, error) {
	if dir, ok := strings.CutPrefix(where, layoutPrefix); ok {
		if dir == "" {
			return nil, errors.New("oci: names no folder; give oci:FOLDER")
		}
		return folder(dir), nil
	}
	repo, err := registry.Repository(where)
	if err != nil {
		return nil, fmt.Errorf("%w, or oci:FOLDER", err)
	}
	return inRegistry{repo}, nil
}

type inRegistry struct{ repo name.Repository }

func (s inRegistry) String() string { return s.repo.String() }

func (s inRegistry) Get(ctx context.Context, digest v1.Hash) (v1.Image, error) {
	img, err := remote.Image(s.repo.Digest(digest.String()), registry.Options(ctx)...)
	var answer *transport.Error
	switch {
	case err == nil:
		return img, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return nil, errMissing
	}
	return nil, registry.Explain(s.repo.RegistryStr(), err)
}

func (s inRegistry) Put(ctx context.Context, tag string, img v1.Image) error {
	if err := remote.Write(s.repo.Tag(tag), img, registry.Options(ctx)...); err != nil {
		return registry.Explain(s.repo.RegistryStr(), err)
	}
	return nil
}

type folder string

func (s folder) String() string { return layoutPrefix + string(s) }

func (s folder) Get(_ context.Context, digest v1.Hash) (v1.Image, error) {
	p, err := layout.FromPath(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is no folder with the OCI image layout; labctl cache push %s makes one", string(s), s)
	}
	if err != nil {
		return nil, err
	}
	img, err := p.Image(digest)
	if err != nil {
		return nil, errMissing // the index names each image with its digest
	}
	return img, nil
}

func (s folder) Put(ctx context.Context, tag string, img v1.Image) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := layout.FromPath(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		if err := vacant(string(s)); err != nil {
			return err
		}
		p, err = layout.Write(string(s), empty.Index)
	}
	if err != nil {
		return err
	}
	// opencontainers/image-spec, annotations.md: the tag of an image of a layout.
	const refName = "org.opencontainers.image.ref.name"
	return p.ReplaceImage(img, match.Name(tag), layout.WithAnnotations(map[string]string{refName: tag}))
}

// vacant refuses a folder with files that aren't labctl's.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(filepath.Clean(dir), 0o755)
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s has files and is no folder with the OCI image layout; name another one", dir)
	}
	return err
}
