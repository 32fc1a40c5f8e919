// Command pack writes the sources of images as tar archives: the Go modules
// below images/, those of the node image apart from those of add-ons, so that
// a new add-on makes no new node image; and the static files of kind's node
// image, which it takes from the kind module that labctl itself is built
// with. The same sources give the same bytes.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/images"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/payload/pack FOLDER, in labctl's main folder")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	// Of the version that go.mod names, verified by go.sum.
	module, err := exec.Command("go", "mod", "download", "-json", "sigs.k8s.io/kind").Output()
	if err != nil {
		return fmt.Errorf("go mod download sigs.k8s.io/kind: %w\n%s", err, module)
	}
	var kind struct{ Dir string }
	if err := json.Unmarshal(module, &kind); err != nil {
		return fmt.Errorf("go mod download sigs.k8s.io/kind: %w", err)
	}
	in := func(folders []string, name string) bool {
		folder, _, _ := strings.Cut(name, "/")
		return slices.Contains(folders, folder)
	}
	err = write(filepath.Join(out, "images.tar"), func(w *tar.Writer) error {
		if err := add(w, "images", "", func(name string) bool { return isSource(name) && in(images.Node, name) }); err != nil {
			return err
		}
		return add(w, filepath.Join(kind.Dir, "images/base/files"), "kind", func(string) bool { return true })
	})
	if err != nil {
		return err
	}
	return write(filepath.Join(out, "addons.tar"), func(w *tar.Writer) error {
		return add(w, "images", "", func(name string) bool {
			return isSource(name) && !in(images.Node, name) && !in(images.Build, name)
		})
	})
}

// write writes one archive.
func write(out string, fill func(*tar.Writer) error) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, b.Bytes(), 0o644)
}

func isSource(name string) bool {
	switch path.Ext(name) {
	case ".mod", ".sum":
		return true
	case ".go":
		return !strings.HasSuffix(name, "_test.go") && path.Dir(name) != "."
	}
	return false
}

// add writes the files below root that match, in WalkDir's lexical order,
// under the prefix. Only name, mode and content go in.
func add(w *tar.Writer, root, prefix string, match func(name string) bool) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if !match(rel) {
			return nil
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path.Join(prefix, rel), Mode: mode(content), Size: int64(len(content)), Format: tar.FormatUSTAR}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
}

// mode is 0755 for scripts and 0644 for all else, as kind's Dockerfile has it:
// the module cache keeps no modes.
func mode(content []byte) int64 {
	if bytes.HasPrefix(content, []byte("#!")) {
		return 0o755
	}
	return 0o644
}
