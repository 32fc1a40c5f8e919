// Package registry is how labctl asks image registries: with the user's
// credentials, and never by plain HTTP but on this machine.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Repository checks HOST/PATH.
func Repository(text string) (name.Repository, error) {
	// Without a dot, a colon or localhost, the first part would be taken for
	// a folder on Docker Hub.
	host, path, _ := strings.Cut(text, "/")
	if path == "" || strings.Contains(text, "//") || host != "localhost" && !strings.ContainsAny(host, ".:") {
		return name.Repository{}, fmt.Errorf("registry %q: give HOST/PATH, as registry.example/labs", text)
	}
	repo, err := name.NewRepository(text, name.StrictValidation)
	if err != nil {
		return name.Repository{}, fmt.Errorf("registry %q: %w", text, err)
	}
	return repo, nil
}

// Options are those of all requests: credentials of docker's and podman's
// configuration, and no plain HTTP but to this machine.
func Options(ctx context.Context) []remote.Option {
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

// Explain says which registry gave an error, and what to do where it wants to
// know who asks.
func Explain(host string, err error) error {
	var answer *transport.Error
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("registry %s: %w; log in with docker login or podman login, whose credentials labctl uses", host, err)
	}
	return fmt.Errorf("registry %s: %w", host, err)
}
