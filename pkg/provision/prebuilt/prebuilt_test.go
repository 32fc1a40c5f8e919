package prebuilt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// thing is an artifact as go build and Builder.Files leave them: programs,
// links to them, files in folders.
func thing(cache artifact.Cache, name, content string) gomodule.Part {
	key := artifact.Key{Name: "go-" + name, Inputs: []string{content}}
	return gomodule.Part{Title: name, Key: key, Make: func(ctx context.Context) (string, error) {
		return cache.Ensure(ctx, key, func(_ context.Context, dir string) error {
			return errors.Join(
				os.WriteFile(filepath.Join(dir, name), []byte(content), 0o700),
				os.Symlink(name, filepath.Join(dir, name+"-link")),
				os.MkdirAll(filepath.Join(dir, "config", "crds"), 0o700),
				os.WriteFile(filepath.Join(dir, "config", "crds", "a.yaml"), []byte("kind: A\n"), 0o600))
		})
	}}
}

func newCache(t *testing.T) artifact.Cache { return artifact.Cache{Dir: t.TempDir()} }

// loopbackRegistry is a real registry of go-containerregistry's, on loopback.
// Its blobs lie in a folder of their own.
func loopbackRegistry(t *testing.T) (where, blobs string) {
	t.Helper()
	blobs = t.TempDir()
	s := httptest.NewServer(registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://") + "/labs/cache", blobs
}

func open(t *testing.T, where string) Store {
	t.Helper()
	s, err := Open(where)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPushPull(t *testing.T) {
	for kind, where := range map[string]func() string{
		"registry": func() string { r, _ := loopbackRegistry(t); return r },
		"layout":   func() string { return "oci:" + filepath.Join(t.TempDir(), "stick", "labctl") },
	} {
		t.Run(kind, func(t *testing.T) {
			there, here := newCache(t), newCache(t)
			opa, kwok := thing(there, "opa", "OPA"), thing(there, "kwok", "KWOK")
			store := open(t, where())
			digests, err := Push(t.Context(), store, []gomodule.Part{opa, kwok}, progress.Discard)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Push(t.Context(), store, []gomodule.Part{opa}, progress.Discard)
			if err != nil || again[opa.Key.ID()] != digests[opa.Key.ID()] {
				t.Errorf("pushed again: %v, %v; first %v", again, err, digests)
			}
			// One that this labctl has no digest of, and one that isn't there.
			own, absent := thing(here, "own", "OWN"), thing(here, "absent", "ABSENT")
			digests[absent.Key.ID()] = "sha256:" + strings.Repeat("0", 64)
			parts := []gomodule.Part{opa, kwok, own, absent}
			got, err := Pull(t.Context(), store, here, parts, digests, progress.Discard)
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, Pulled{Taken: []string{opa.Key.ID(), kwok.Key.ID()}, Unknown: []string{own.Key.ID()}, Missing: []string{absent.Key.ID()}})
			for _, p := range []gomodule.Part{opa, kwok} {
				if a, b := tree(t, there.Path(p.Key)), tree(t, here.Path(p.Key)); !slices.Equal(a, b) {
					t.Errorf("%s: pushed\n%s\npulled\n%s", p.Title, strings.Join(a, "\n"), strings.Join(b, "\n"))
				}
			}
			got, err = Pull(t.Context(), store, here, parts[:2], digests, progress.Discard)
			if err != nil {
				t.Fatal(err)
			}
			check(t, got, Pulled{Here: []string{opa.Key.ID(), kwok.Key.ID()}})
		})
	}
}

func check(t *testing.T, got, want Pulled) {
	t.Helper()
	for _, l := range []struct {
		name      string
		got, want []string
	}{{"here", got.Here, want.Here}, {"taken", got.Taken, want.Taken}, {"unknown", got.Unknown, want.Unknown}, {"missing", got.Missing, want.Missing}} {
		if !slices.Equal(l.got, l.want) {
			t.Errorf("%s: %q, want %q", l.name, l.got, l.want)
		}
	}
}

// tree lists what an artifact holds; who may execute a file counts, the rest
// of its mode is the umask's.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || info.Name() == artifact.ManifestName || p == dir {
			return err
		}
		line := strings.TrimPrefix(p, dir)
		switch {
		case info.IsDir():
			line += "/"
		case info.Mode()&os.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + to
		default:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += " " + string(b)
			if info.Mode()&0o100 != 0 {
				line += " x"
			}
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whoever keeps the store, only bytes of the digest come into the cache, and
// the other artifacts still do.
func TestPullRefuses(t *testing.T) {
	spoil := func(change func([]byte) []byte) func(t *testing.T, blobs string, layer v1.Hash) {
		return func(t *testing.T, blobs string, layer v1.Hash) {
			file := filepath.Join(blobs, layer.Algorithm, layer.Hex)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, change(bytes.Clone(b)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, do := range map[string]func(t *testing.T, blobs string, layer v1.Hash){
		"one bit":        spoil(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }),
		"cut off":        spoil(func(b []byte) []byte { return b[:len(b)-9] }),
		"something more": spoil(func(b []byte) []byte { return append(b, "more"...) }),
		"gone": func(t *testing.T, blobs string, layer v1.Hash) {
			if err := os.Remove(filepath.Join(blobs, layer.Algorithm, layer.Hex)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, kind := range []string{"registry", "layout"} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				there, here := newCache(t), newCache(t)
				opa, kwok := thing(there, "opa", "OPA"), thing(there, "kwok", "KWOK")
				where, blobs := loopbackRegistry(t)
				if kind == "layout" {
					dir := filepath.Join(t.TempDir(), "stick")
					where, blobs = "oci:"+dir, filepath.Join(dir, "blobs")
				}
				store := open(t, where)
				digests, err := Push(t.Context(), store, []gomodule.Part{opa, kwok}, progress.Discard)
				if err != nil {
					t.Fatal(err)
				}
				img, err := Image(there.Path(opa.Key))
				if err != nil {
					t.Fatal(err)
				}
				layers, err := img.Layers()
				if err != nil {
					t.Fatal(err)
				}
				layer, err := layers[0].Digest()
				if err != nil {
					t.Fatal(err)
				}
				do(t, blobs, layer)
				got, err := Pull(t.Context(), store, here, []gomodule.Part{opa, kwok}, digests, progress.Discard)
				if err == nil || !strings.Contains(err.Error(), "pull "+opa.Key.ID()+" from "+store.String()) {
					t.Errorf("error %v", err)
				}
				check(t, got, Pulled{Taken: []string{kwok.Key.ID()}})
				if here.Has(opa.Key) {
					t.Error("it is in the cache")
				}
				// A build puts the right one there.
				if _, err := thing(here, "opa", "OPA").Make(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A digest that is right says nothing about a layer made to leave the folder.
func TestExtractStaysInside(t *testing.T) {
	for name, e := range map[string]ociimage.Entry{
		"parent":             {Path: "/../out", Mode: 0o644, Content: []byte("x")},
		"parent within":      {Path: "/a/../../out", Mode: 0o644, Content: []byte("x")},
		"link to a parent":   {Path: "/a", Link: ".."},
		"link to a path":     {Path: "/a", Link: "/etc/passwd"},
		"the cache's own":    {Path: "/" + artifact.ManifestName, Mode: 0o644, Content: []byte("{}")},
		"what is there once": {Path: "/there", Mode: 0o644, Content: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "in")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "there"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := ociimage.Write(&b, []ociimage.Entry{e}); err != nil {
				t.Fatal(err)
			}
			if err := extract(&b, dir); err == nil {
				t.Error("it was written")
			}
			if _, err := os.Lstat(filepath.Join(dir, "..", "out")); err == nil {
				t.Error("it is outside")
			}
		})
	}
}

func TestStoreThatIsNone(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cache := newCache(t)
	p := thing(cache, "opa", "OPA")
	digests := Digests{p.Key.ID(): "sha256:" + strings.Repeat("0", 64)}
	for _, c := range []struct{ where, pull, push string }{
		{"registry.example", "or oci:FOLDER", "or oci:FOLDER"},
		{"oci:", "names no folder", "names no folder"},
		{strings.TrimPrefix(closed.URL, "http://") + "/labs", "connection refused", "connection refused"},
		{"oci:" + filepath.Join(t.TempDir(), "none"), "labctl cache push oci:", ""},
		{"oci:" + full, "labctl cache push oci:", "name another one"},
	} {
		t.Run(c.where, func(t *testing.T) {
			store, err := Open(c.where)
			pulled, pushed := err, err
			if err == nil {
				_, pulled = Pull(t.Context(), store, newCache(t), []gomodule.Part{p}, digests, progress.Discard)
				_, pushed = Push(t.Context(), store, []gomodule.Part{p}, progress.Discard)
			}
			if pulled == nil || !strings.Contains(pulled.Error(), c.pull) {
				t.Errorf("pull: %v", pulled)
			}
			if (pushed == nil) != (c.push == "") || pushed != nil && !strings.Contains(pushed.Error(), c.push) {
				t.Errorf("push: %v", pushed)
			}
		})
	}
	if entries, _ := os.ReadDir(full); len(entries) != 1 {
		t.Errorf("a folder of another's has %d files now", len(entries))
	}
}

func TestPullInterrupted(t *testing.T) {
	there, here := newCache(t), newCache(t)
	p := thing(there, "opa", "OPA")
	where, _ := loopbackRegistry(t)
	store := open(t, where)
	digests, err := Push(t.Context(), store, []gomodule.Part{p}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Pull(ctx, store, here, []gomodule.Part{p}, digests, progress.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(here.Dir, "artifacts", "go-opa-*.partial")); len(left) > 0 || here.Has(p.Key) {
		t.Errorf("left: %q", left)
	}
}
