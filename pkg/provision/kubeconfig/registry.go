package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolation-stack/labctl/pkg/probeimage"
	"github.com/isolation-stack/labctl/pkg/provision/registry"
)

// inRegistry is where an image of labprobe is in a registry.
func inRegistry(repository, ref string) string {
	return strings.TrimSuffix(repository, "/") + "/" + strings.TrimPrefix(ref, probeimage.Repository)
}

// inRegistryAlready asks the registry for the image.
func inRegistryAlready(ctx context.Context, ref string) (bool, error) {
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return false, err
	}
	_, err = remote.Head(tag, registry.Options(ctx)...)
	var answer *transport.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return false, nil
	}
	return false, registry.Explain(tag.RegistryStr(), err)
}

// pushArchive pushes the one image of a docker-archive.
func pushArchive(ctx context.Context, repository string, archive func() (io.ReadCloser, error)) error {
	manifest, err := tarball.LoadManifest(archive)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	for _, image := range manifest {
		for _, ref := range image.RepoTags {
			from, err := name.NewTag(ref)
			if err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			img, err := tarball.Image(archive, &from)
			if err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			to, err := name.NewTag(inRegistry(repository, ref), name.StrictValidation)
			if err != nil {
				return err
			}
			if img, err = marked(img, repository); err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			if err := remote.Write(to, img, registry.Options(ctx)...); err != nil {
				return registry.Explain(to.RegistryStr(), fmt.Errorf("push %s: %w", to, err))
			}
		}
	}
	return nil
}

// marked is the image as another one, by a label in its configuration. The
// kubelet remembers by an image's id where it was pulled from, and wants to
// pull it again under another name (KEP-2535): an image that is loaded into
// the same node must not be one that was pulled.
func marked(img v1.Image, repository string) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	config.Config.Labels["dev.labctl.registry"] = repository
	return mutate.ConfigFile(img, config)
}
