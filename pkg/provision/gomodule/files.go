package gomodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// ErrDownload is a module that could not be had: from the proxy, or from
// where the user's Go settings say.
var ErrDownload = errors.New("the Go modules can't be downloaded")

func downloading(err error) error { return fmt.Errorf("%w: %w", ErrDownload, err) }

// FilesPart is what Files returns, as an artifact.
func (b Builder) FilesPart(module, required string, globs ...string) Part {
	return Part{
		Title: "files of " + required,
		Key:   b.filesKey(module, required, globs),
		Make:  func(ctx context.Context) (string, error) { return b.Files(ctx, module, required, globs...) },
	}
}

func (b Builder) filesKey(module, required string, globs []string) artifact.Key {
	key := artifact.Key{Name: "files-" + module, Inputs: append([]string{required}, globs...)}
	for _, f := range b.Sources.Below(module) {
		if f.Name == "go.mod" || f.Name == "go.sum" {
			key.Inputs = append(key.Inputs, f.Name, string(f.Content))
		}
	}
	return key
}

// Files returns a folder with files of a module that the go.mod of a folder
// below images/ requires, under their paths there. Globs are those of
// path.Match; one that ends in /... takes everything below a folder. A glob
// that matches nothing is an error.
func (b Builder) Files(ctx context.Context, module, required string, globs ...string) (dir string, err error) {
	key := b.filesKey(module, required, globs)
	if b.Cache.Has(key) {
		return b.Cache.Path(key), nil
	}
	step := b.Log.Start("Taking files out of " + required)
	defer func() { step.End(err) }()
	if err := needsGo(required); err != nil {
		return "", err
	}
	return b.Cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		src := filepath.Join(dir, "src")
		if err := b.Sources.Unpack(module, src); err != nil {
			return err
		}
		from, err := moduleDir(ctx, src, required)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(src); err != nil {
			return err
		}
		for _, glob := range globs {
			n, err := copyMatches(os.DirFS(from), glob, dir)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", glob, required, err)
			}
			if n == 0 {
				return fmt.Errorf("%s has no file %s", required, glob)
			}
		}
		return nil
	})
}

// moduleDir downloads a module that the go.mod in src requires, verified by
// go.sum, and returns its folder in Go's module cache.
func moduleDir(ctx context.Context, src, required string) (string, error) {
	r, err := process.Run(ctx, process.Command{
		Argv: []string{"go", "mod", "download", "-json", required}, Dir: src, Env: environment(),
	})
	if err != nil {
		return "", downloading(err)
	}
	var info struct{ Dir string }
	if err := json.NewDecoder(bytes.NewReader(r.Stdout)).Decode(&info); err != nil {
		return "", fmt.Errorf("go mod download %s: %w", required, err)
	}
	if info.Dir == "" {
		return "", fmt.Errorf("go mod download %s names no folder", required)
	}
	return info.Dir, nil
}

// copyMatches copies the files of fsys that match and says how many they are.
func copyMatches(fsys fs.FS, glob, dst string) (int, error) {
	below, whole := strings.CutSuffix(glob, "/...")
	n := 0
	root := "."
	if whole {
		root = below
	}
	err := fs.WalkDir(fsys, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if !whole {
			if ok, err := path.Match(glob, p); err != nil || !ok {
				return err
			}
		}
		content, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		n++
		to := filepath.Join(dst, filepath.FromSlash(p))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o644)
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // the folder of a glob that matches nothing
	}
	return n, err
}

// edit writes the edited files and an overlay (go help build, -overlay) that
// puts them in the place of the modules' own; it returns the flag for it.
func edit(ctx context.Context, src string, edits []Edit) ([]string, error) {
	if len(edits) == 0 {
		return nil, nil
	}
	replace := map[string]string{}
	for _, e := range edits {
		dir, err := moduleDir(ctx, src, e.Requires)
		if err != nil {
			return nil, err
		}
		original := filepath.Join(dir, filepath.FromSlash(e.File))
		from := original
		if edited, ok := replace[original]; ok {
			from = edited // an earlier edit of the same file
		}
		content, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if n := bytes.Count(content, []byte(e.Old)); n != 1 {
			return nil, fmt.Errorf("%s of %s has the text to be replaced %d times, not once: %q", e.File, e.Requires, n, e.Old)
		}
		to := filepath.Join(src, ".overlay", fmt.Sprint(len(replace)), path.Base(e.File))
		if from != original {
			to = from
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, bytes.Replace(content, []byte(e.Old), []byte(e.New), 1), 0o644); err != nil {
			return nil, err
		}
		replace[original] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(src, ".overlay", "overlay.json")
	return []string{"-overlay=" + file}, os.WriteFile(file, b, 0o644)
}
