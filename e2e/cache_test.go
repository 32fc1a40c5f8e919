//go:build e2e

package e2e

import (
	"io"
	"log"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/images"
)

// TestCache is one machine that builds for another: what was built here and
// pushed into a registry has the digests that labctl carries, and a machine
// without modules and without their proxy brings an add-on up from it, under
// the name that a build gives it.
func TestCache(t *testing.T) {
	shared(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	where := strings.TrimPrefix(server.URL, "http://") + "/labs"

	// The other machine: an empty cache, no modules, no proxy.
	home := t.TempDir()
	elsewhere := func(args ...string) run {
		cmd := command(t.Context(), args...)
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+home, "GOMODCACHE="+filepath.Join(home, "mod"), "GOPROXY=off")
		return finish(cmd)
	}

	var pushed images.Digests
	if err := yaml.UnmarshalStrict([]byte(must(t, "cache", "push", where, "go-kwok", "files-kwok").stdout), &pushed); err != nil {
		t.Fatal(err)
	}
	known, err := images.ReadDigests()
	if err != nil {
		t.Fatal(err)
	}
	if len(pushed.Artifacts) != 2 {
		t.Errorf("pushed %v", pushed.Artifacts)
	}
	if runtime.GOARCH != "amd64" || runtime.Version() != known.Go {
		// Another Go gives other bytes, which nobody takes: that is said.
		t.Logf("images/digests.yaml is of %s on amd64, this is %s on %s", known.Go, runtime.Version(), runtime.GOARCH)
		if r := elsewhere("cache", "pull", where); r.code != 3 || !strings.Contains(r.stderr, "has nothing that this labctl takes") {
			t.Errorf("pull: exit code %d\n%s", r.code, r.stderr)
		}
		return
	}
	for id, digest := range pushed.Artifacts {
		if known.Artifacts[id] != digest {
			t.Errorf("%s: built here %s, in images/digests.yaml %q", id, digest, known.Artifacts[id])
		}
	}

	forget(t, "/kwok:")
	if r := elsewhere("addon", "up", "kwok", "--name", sharedName); r.code == 0 {
		t.Error("kwok came up from nothing, so this test shows nothing")
	}
	if r := elsewhere("cache", "pull", where); r.code != 0 || !strings.Contains(r.stderr, "2 of them were pulled") {
		t.Fatalf("pull: exit code %d\n%s", r.code, r.stderr)
	}
	if r := elsewhere("addon", "up", "kwok", "--name", sharedName); r.code != 0 {
		t.Errorf("kwok from the registry: exit code %d\n%s", r.code, r.stderr)
	}
	must(t, "addon", "down", "kwok", "--name", sharedName)
	server.Close()
	if r := elsewhere("cache", "pull", where, "go-opa"); r.code != 3 || !strings.Contains(r.stderr, "connection refused") {
		t.Errorf("registry that is gone: exit code %d\n%s", r.code, r.stderr)
	}
}

// forget removes the images with this in their name from the shared
// cluster's node, if it has any.
func forget(t *testing.T, part string) {
	t.Helper()
	e := chooseEngine(t)
	ctr := func(args ...string) string {
		return ask(t, e, append([]string{"exec", sharedName + "-control-plane", "ctr", "-n", "k8s.io", "images"}, args...)...)
	}
	for ref := range strings.Lines(ctr("ls", "-q")) {
		if strings.Contains(ref, part) {
			ctr("rm", strings.TrimSpace(ref))
		}
	}
}
