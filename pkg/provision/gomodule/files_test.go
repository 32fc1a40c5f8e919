package gomodule

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

func TestCopyMatches(t *testing.T) {
	module := fstest.MapFS{
		"crds/a.yaml":     {Data: []byte("a")},
		"crds/b.json":     {Data: []byte("b")},
		"crds/sub/c.yaml": {Data: []byte("c")},
		"other.yaml":      {Data: []byte("d")},
	}
	for _, c := range []struct {
		glob string
		want []string
	}{
		{"crds/*.yaml", []string{"crds/a.yaml"}},
		{"crds/...", []string{"crds/a.yaml", "crds/b.json", "crds/sub/c.yaml"}},
		{"other.yaml", []string{"other.yaml"}},
		{"gone/...", nil},
		{"gone.yaml", nil},
	} {
		t.Run(c.glob, func(t *testing.T) {
			dir := t.TempDir()
			n, err := copyMatches(module, c.glob, dir)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			_ = filepath.Walk(dir, func(p string, i os.FileInfo, err error) error {
				if err == nil && i.Mode().IsRegular() {
					rel, _ := filepath.Rel(dir, p)
					got = append(got, filepath.ToSlash(rel))
				}
				return err
			})
			if n != len(c.want) || !slices.Equal(got, c.want) {
				t.Errorf("copied %d: %q, want %q", n, got, c.want)
			}
		})
	}
	if _, err := copyMatches(module, "crds/[", t.TempDir()); err == nil {
		t.Error("a glob that is none gives no error")
	}
}
