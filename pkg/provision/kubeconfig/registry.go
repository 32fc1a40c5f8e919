package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolation-stack/labctl/pkg/probeimage"
)

// repository checks HOST/PATH.
func repository(registry string) (name.Repository, error) {
	// Without a dot, a colon or localhost, the first part would be taken for
	// a folder on Docker Hub.
	host, path, _ := strings.Cut(registry, "/")
	if path == "" || strings.Contains(registry, "//") || host != "localhost" && !strings.ContainsAny(host, ".:") {
		return name.Repository{}, fmt.Errorf("registry %q: give HOST/PATH, as registry.example/labs", registry)
	}
	repo, err := name.NewRepository(registry, name.StrictValidation)
	if err != nil {
		return name.Repository{}, fmt.Errorf("registry %q: %w", registry, err)
	}
	return repo, nil
}

// inRegistry is where an image of labprobe is in a registry.
func inRegistry(registry, ref string) string {
	return strings.TrimSuffix(registry, "/") + "/" + strings.TrimPrefix(ref, probeimage.Repository)
}

// inRegistryAlready asks the registry for the image.
func inRegistryAlready(ctx context.Context, ref string) (bool, error) {
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return false, err
	}
	_, err = remote.Head(tag, options(ctx)...)
	var answer *transport.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return false, nil
	}
	return false, explain(tag.RegistryStr(), err)
}

// pushArchive pushes the one image of a docker-archive.
func pushArchive(ctx context.Context, registry string, archive func() (io.ReadCloser, error)) error {
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
			to, err := name.NewTag(inRegistry(registry, ref), name.StrictValidation)
			if err != nil {
				return err
			}
			if img, err = marked(img, registry); err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			if err := remote.Write(to, img, options(ctx)...); err != nil {
				return explain(to.RegistryStr(), fmt.Errorf("push %s: %w", to, err))
			}
		}
	}
	return nil
}

// marked is the image as another one, by a label in its configuration. The
// kubelet remembers by an image's id where it was pulled from, and wants to
// pull it again under another name (KEP-2535): an image that is loaded into
// the same node must not be one that was pulled.
func marked(img v1.Image, registry string) (v1.Image, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	config.Config.Labels["dev.labctl.registry"] = registry
	return mutate.ConfigFile(img, config)
}

// options are those of all requests: credentials of docker's and podman's
// configuration, and no plain HTTP but to this machine.
func options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(careful{remote.DefaultTransport}),
		remote.WithUserAgent("labctl"),
	}
}

// careful refuses plain HTTP to other machines, which go-containerregistry
// tries for private addresses and names that end in .local.
type careful struct{ http.RoundTripper }

var errPlain = errors.New("plain HTTP is only for a registry on this machine's loopback")

func (c careful) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !loopback(r.URL.Hostname()) {
		return nil, errPlain
	}
	return c.RoundTripper.RoundTrip(r)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func explain(registry string, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("registry %s: %w; log in with docker login or podman login, whose credentials labctl uses", registry, err)
	}
	return fmt.Errorf("registry %s: %w", registry, err)
}
