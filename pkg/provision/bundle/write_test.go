package bundle

import (
	"context"
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
)

// releases serves K3s's releases; every request is counted by its path.
type releases struct {
	files    map[string]string
	requests map[string]int
	ranges   []string
}

func (r *releases) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.requests[q.URL.Path]++
	if h := q.Header.Get("Range"); h != "" {
		r.ranges = append(r.ranges, h)
	}
	switch text, ok := r.files[q.URL.Path]; {
	case q.URL.Path == "/channels/stable":
		http.Redirect(w, q, "/releases/tag/v1.34.1+k3s1", http.StatusFound)
	case ok:
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(text))
	default:
		http.NotFound(w, q)
	}
}

const files = "/releases/download/v1.34.1+k3s1/"

func serve(t *testing.T) (*releases, Release) {
	t.Helper()
	r := &releases{requests: map[string]int{}, files: map[string]string{
		files + "k3s":       "amd64 program",
		files + "k3s-arm64": "arm64 program",
		files + "k3s-airgap-images-amd64.tar.zst": "the images",
		files + "sha256sum-amd64.txt":             hash("amd64 program") + "  k3s\n" + hash("x") + "  k3s-airgap-images-amd64.tar\n" + hash("the images") + "  k3s-airgap-images-amd64.tar.zst\n",
		files + "sha256sum-arm64.txt":             hash("arm64 program") + "  k3s-arm64\n",
	}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return r, Release{Address: s.URL + "/releases", Channels: s.URL + "/channels", Client: s.Client()}
}

func TestRelease(t *testing.T) {
	ctx := context.Background()
	server, release := serve(t)
	for name, c := range map[string]struct{ version, channel, architecture, binary, err string }{
		"a channel":               {"", "", "amd64", "amd64 program", ""},
		"a version":               {"v1.34.1+k3s1", "", "amd64", "amd64 program", ""},
		"another architecture":    {"", "stable", "arm64", "arm64 program", ""},
		"no such channel":         {"", "nightly", "amd64", "", `is "nightly" a channel`},
		"no such version":         {"v9", "", "amd64", "", "404 Not Found"},
		"unpublished for the CPU": {"", "", "riscv64", "", "404 Not Found"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := release.find(ctx, c.version, c.channel, c.architecture)
			dst := filepath.Join(t.TempDir(), "k3s")
			if err == nil {
				err = p.download(ctx, p.binary(), dst, 0o755)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want it to say %q", err, c.err)
				}
				return
			}
			if err != nil || p.version != "v1.34.1+k3s1" {
				t.Fatalf("%s, %v", p.version, err)
			}
			info, err := os.Stat(dst)
			if b, _ := os.ReadFile(dst); err != nil || string(b) != c.binary || info.Mode() != 0o755 {
				t.Errorf("%q, %v, %v", b, info, err)
			}
		})
	}
	p, err := release.find(ctx, "", "", "amd64")
	if err != nil || p.images() != "k3s-airgap-images-amd64.tar.zst" {
		t.Fatalf("images are %s, %v", p.images(), err)
	}
	for name, c := range map[string]struct {
		there, begun string
		requests     int
		ranged       bool
	}{
		"from nothing":        {"", "", 1, false},
		"there already":       {"the images", "", 0, false},
		"damaged":             {"the Images", "", 1, false},
		"begun":               {"", "the im", 1, true},
		"begun, whole":        {"", "the images", 1, true},
		"begun, of another":   {"", "THE", 2, true},
		"begun, and too long": {"", "the images and more", 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "images")
			for path, text := range map[string]string{dst: c.there, dst + ".begun": c.begun} {
				if text != "" {
					put(t, path, text)
				}
			}
			server.requests, server.ranges = map[string]int{}, nil
			if err := p.download(ctx, p.images(), dst, 0o644); err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(dst); string(b) != "the images" {
				t.Errorf("got %q", b)
			}
			if n := server.requests[files+p.images()]; n != c.requests || (len(server.ranges) > 0) != c.ranged {
				t.Errorf("%d requests, ranges %q", n, server.ranges)
			}
			if _, err := os.Stat(dst + ".begun"); err == nil {
				t.Error("the beginning is left behind")
			}
		})
	}
	server.files[files+"k3s"] = "another program"
	dst := filepath.Join(t.TempDir(), "k3s")
	if err := p.download(ctx, "k3s", dst, 0o755); err == nil || !strings.Contains(err.Error(), hash("amd64 program")) {
		t.Errorf("a program that isn't the release's: %v", err)
	}
	if left, _ := filepath.Glob(dst + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What would fail late fails at once, and all of it.
func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	put(t, filepath.Join(full, "diary.txt"), "dear")
	image := put(t, filepath.Join(dir, "a.tar"), "")
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"no folder":            {Options{}, []string{"--output DIR"}},
		"something else there": {Options{Output: full}, []string{"is no bundle", "--output"}},
		"files missing":        {Options{Output: dir + "/b", Binary: dir + "/k3s", Images: []string{dir + "/no.tar"}}, []string{dir + "/k3s", dir + "/no.tar"}},
		"images":               {Options{Output: dir + "/b", Images: []string{image, put(t, filepath.Join(dir, "x", "a.tar"), ""), put(t, dir+"/c.zip", "")}}, []string{"two files a.tar", "c.zip"}},
		"no installer":         {Options{Output: dir + "/b", Installer: installer.Source{Location: dir + "/no.sh"}}, []string{dir + "/no.sh"}},
		"architecture":         {Options{Output: dir + "/b", Architecture: "s390x"}, []string{"amd64 and arm64 only"}},
		"suite":                {Options{Output: dir + "/b", Suite: "bookworm"}, []string{"--gvisor DIR"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Write(context.Background(), c.o, progress.Discard)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
			if left, _ := filepath.Glob(dir + "/b*"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(full, "diary.txt")); err != nil || string(b) != "dear" {
		t.Errorf("what was there is %q, %v", b, err)
	}
}

// reachable opens a small part of a Debian archive, or skips.
func reachable(t *testing.T, cache string) {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get: a bundle's packages are fetched with it")
	}
	if _, err := debian.Open(context.Background(), debian.Options{Dir: filepath.Join(cache, "apt"), Suite: "trixie"}); err != nil {
		t.Skipf("needs a Debian archive, named by the machine's apt sources: %v", err)
	}
}

// TestWrite makes a bundle of files and of real packages, and makes it anew.
func TestWrite(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	reachable(t, cache)
	gvisor := filepath.Join(dir, "gvisor")
	for _, name := range []string{"runsc", "containerd-shim-runsc-v1"} {
		put(t, filepath.Join(gvisor, name), name)
		put(t, filepath.Join(gvisor, name+".sha512"), sha512Line(t, filepath.Join(gvisor, name)))
	}
	o := Options{
		Output:    filepath.Join(dir, "box"),
		Installer: installer.Source{Location: put(t, filepath.Join(dir, "install.sh"), "#!/bin/sh\n")},
		Binary:    put(t, filepath.Join(dir, "k3s-of-ours"), "#!/bin/sh\necho 'k3s version v1.34.1+k3s1 (abc)'\n"),
		Images:    []string{put(t, filepath.Join(dir, "a.tar"), "images a"), put(t, filepath.Join(dir, "b.tar.zst"), "images b")},
		Packages:  []string{"ethtool"},
		GVisorDir: gvisor,
		Cache:     artifact.Cache{Dir: cache},
	}
	write := func() *Bundle {
		t.Helper()
		if err := Write(ctx, o, progress.Discard); err != nil {
			t.Fatal(err)
		}
		b, err := Open(ctx, o.Output)
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(o.Output + ".*"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		return b
	}
	b := write()
	if b.K3sVersion != "v1.34.1+k3s1" || b.Suite != "trixie" {
		t.Errorf("got %+v", b)
	}
	if got, want := names(b, Program), []string{"containerd-shim-runsc-v1", "runsc"}; !slices.Equal(got, want) {
		t.Errorf("programs: %q", got)
	}
	packages := names(b, Package)
	for _, want := range []string{"ethtool_", "libmnl0_", "libc6_"} {
		if !slices.ContainsFunc(packages, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("no %s among %q", want, packages)
		}
	}
	// A killed run left rubbish and half a package; other images are given.
	put(t, filepath.Join(o.Output+".partial", "images", "old.tar"), "of another time")
	put(t, filepath.Join(o.Output+".partial", "packages", packages[0]), "half")
	o.Images = o.Images[:1]
	b = write()
	if got := names(b, Images); !slices.Equal(got, []string{"a.tar"}) {
		t.Errorf("images: %q", got)
	}
	// One that fails leaves the bundle as it was.
	o.BinarySHA256 = hash("another")
	if err := Write(ctx, o, progress.Discard); err == nil || !strings.Contains(err.Error(), "goes on from there") {
		t.Errorf("a binary with another digest: %v", err)
	}
	if _, err := Open(ctx, o.Output); err != nil {
		t.Error(err)
	}
}

func names(b *Bundle, role Role) []string {
	var out []string
	for _, f := range b.Files(role) {
		out = append(out, f.Name)
	}
	return out
}

func sha512Line(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x  %s\n", sha512.Sum512(b), filepath.Base(file))
}
