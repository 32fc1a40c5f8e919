package artifact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func write(name, content string) func(context.Context, string) error {
	return func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
	}
}

func TestEnsure(t *testing.T) {
	ctx := context.Background()
	key := Key{Name: "thing", Inputs: []string{"v1"}}
	boom := errors.New("boom")
	never := func(context.Context, string) error { t.Error("built again"); return nil }

	tests := []struct {
		name    string
		prepare func(t *testing.T, c Cache) // state before
		build   func(context.Context, string) error
		wantErr string
	}{
		{"builds", func(*testing.T, Cache) {}, write("f", "new"), ""},
		{"is there", func(t *testing.T, c Cache) { must(t, c, key, write("f", "new")) }, never, ""},
		{"truncated file", func(t *testing.T, c Cache) {
			must(t, c, key, write("f", "old content"))
			if err := os.Truncate(filepath.Join(c.Path(key), "f"), 1); err != nil {
				t.Fatal(err)
			}
		}, write("f", "new"), ""},
		{"rest of a killed build", func(t *testing.T, c Cache) {
			if err := os.MkdirAll(filepath.Join(c.Path(key)+".partial", "junk"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, write("f", "new"), ""},
		{"garbage manifest", func(t *testing.T, c Cache) {
			must(t, c, key, write("f", "old"))
			if err := os.WriteFile(filepath.Join(c.Path(key), ManifestName), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, write("f", "new"), ""},
		{"build fails", func(*testing.T, Cache) {}, func(context.Context, string) error { return boom }, "build thing: boom"},
		{"disk full", func(*testing.T, Cache) {}, func(context.Context, string) error { return syscall.ENOSPC }, "free some space below"},
		{"no permission", func(*testing.T, Cache) {}, func(context.Context, string) error { return syscall.EACCES }, "writable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Cache{Dir: t.TempDir()}
			tt.prepare(t, c)
			dir, err := c.Ensure(ctx, key, tt.build)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tt.wantErr)
				}
				left, _ := filepath.Glob(c.Path(key) + "*")
				for _, l := range left {
					if !strings.HasSuffix(l, ".lock") {
						t.Errorf("left behind: %s", l)
					}
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(filepath.Join(dir, "f")); string(b) != "new" {
				t.Errorf("content %q", b)
			}
			if _, err := os.Stat(filepath.Join(dir, "junk")); err == nil {
				t.Error("the killed build's rest is in the artifact")
			}
		})
	}
}

func must(t *testing.T, c Cache, k Key, build func(context.Context, string) error) {
	t.Helper()
	if _, err := c.Ensure(context.Background(), k, build); err != nil {
		t.Fatal(err)
	}
}

func TestEnsureConcurrently(t *testing.T) {
	c := Cache{Dir: t.TempDir()}
	var mu sync.Mutex
	builds := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := c.Ensure(context.Background(), Key{Name: "x"}, func(ctx context.Context, dir string) error {
				mu.Lock()
				builds++
				mu.Unlock()
				return write("f", "x")(ctx, dir)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if builds != 1 {
		t.Errorf("built %d times, want once", builds)
	}
}

func TestKeyID(t *testing.T) {
	a := Key{Name: "n", Inputs: []string{"ab", "c"}}
	for _, other := range []Key{{"n", []string{"a", "bc"}}, {"n", []string{"abc"}}, {"n", []string{"ab", "c", ""}}} {
		if a.ID() == other.ID() {
			t.Errorf("%q and %q have one ID", a.Inputs, other.Inputs)
		}
	}
}
