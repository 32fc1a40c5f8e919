//go:build e2e

package nodeimage

import (
	"context"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"sigs.k8s.io/kind/pkg/cluster"
)

// TestRegistry takes the way over a registry: one on loopback serves a base
// that was built here, and a cluster comes up on the image made from it.
func TestRegistry(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	e, err := engine.Choose(ctx, engine.Options{StateDir: t.TempDir()}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBuilder(e, Options{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	base, err := b.ensureDebianBase(ctx)
	if err != nil {
		t.Fatal(err)
	}

	ref := serve(ctx, t, e, base)
	image, err := Ensure(ctx, e, Options{Source: Auto, BaseImage: ref}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, r := range []string{image.Reference, ref} {
			if _, err := e.Run(context.Background(), "rmi", r); err != nil {
				t.Errorf("left behind: %v", err)
			}
		}
	})
	if image.Source != Registry {
		t.Fatalf("the image came by way of %s, want %s", image.Source, Registry)
	}
	again, err := Ensure(ctx, e, Options{Source: Auto, BaseImage: ref}, progress.Discard)
	if err != nil || again != image {
		t.Errorf("second time: %v, %v; want %v", again, err, image)
	}

	for _, v := range e.Env {
		key, value, _ := strings.Cut(v, "=")
		t.Setenv(key, value)
	}
	option, err := cluster.DetectNodeProvider()
	if err != nil {
		t.Fatal(err)
	}
	if e.Name == engine.Podman {
		option = cluster.ProviderWithPodman()
	}
	provider := cluster.NewProvider(option)
	const clusterName = "labctl-nodeimage-test"
	config := filepath.Join(t.TempDir(), "kubeconfig")
	t.Cleanup(func() {
		if err := provider.Delete(clusterName, config); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	err = provider.Create(clusterName,
		cluster.CreateWithNodeImage(image.Reference),
		cluster.CreateWithKubeconfigPath(config),
		cluster.CreateWithWaitForReady(3*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := provider.ListNodes(clusterName)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %v, %v; want one", nodes, err)
	}
	dump := nodes[0].Command("containerd", "config", "dump")
	var out strings.Builder
	if err := dump.SetStdout(&out).Run(); err != nil {
		t.Fatal(err)
	}
	for _, handler := range []string{"runsc", "crun"} {
		if !strings.Contains(out.String(), handler) {
			t.Errorf("containerd's effective configuration has no %s", handler)
		}
	}
}

// serve pushes the engine's image to a registry of the test's own and returns
// its reference there, by digest.
func serve(ctx context.Context, t *testing.T, e *engine.Engine, image string) string {
	t.Helper()
	handler := registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())),
		registry.Logger(log.New(os.Stderr, "", 0)))
	server := httptest.NewServer(handler) // listens on loopback
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "base.tar")
	if _, err := e.Run(ctx, "save", "--output", file, image); err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	repository := strings.TrimPrefix(server.URL, "http://") + "/kindest/node"
	tag, err := name.NewTag(repository + ":test")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img, remote.WithContext(ctx)); err != nil {
		t.Fatal(err)
	}
	return repository + "@" + digest.String()
}
