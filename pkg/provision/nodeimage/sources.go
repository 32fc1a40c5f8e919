package nodeimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
)

// sources are the files that images are built from (payload.Images).
type sources struct {
	files []sourceFile
	hash  string // of the whole archive
}

type sourceFile struct {
	name    string // MODULE/… or kind/…
	mode    int64
	content []byte
}

func readSources(archive []byte) (sources, error) {
	sum := sha256.Sum256(archive)
	s := sources{hash: hex.EncodeToString(sum[:])}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("sources of the images: %w", err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return s, fmt.Errorf("sources of the images: %w", err)
		}
		s.files = append(s.files, sourceFile{h.Name, h.Mode, content})
	}
}

// below gives the files of one folder, by their names inside of it.
func (s sources) below(dir string) []sourceFile {
	var out []sourceFile
	for _, f := range s.files {
		if name, ok := strings.CutPrefix(f.name, dir+"/"); ok {
			f.name = name
			out = append(out, f)
		}
	}
	return out
}

// unpack writes the files of one folder to the disk.
func (s sources) unpack(dir, dst string) error {
	for _, f := range s.below(dir) {
		if !filepath.IsLocal(f.name) {
			return fmt.Errorf("sources of the images: %s lies outside of its folder", f.name)
		}
		p := filepath.Join(dst, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, f.content, fs.FileMode(f.mode)); err != nil {
			return err
		}
	}
	return nil
}

// version is that of a module that another module's go.mod requires.
func (s sources) version(module, required string) (string, error) {
	for _, f := range s.below(module) {
		if f.name != "go.mod" {
			continue
		}
		m, err := modfile.ParseLax(path.Join(module, f.name), f.content, nil)
		if err != nil {
			return "", err
		}
		for _, r := range m.Require {
			if r.Mod.Path == required {
				return r.Mod.Version, nil
			}
		}
	}
	return "", fmt.Errorf("images/%s/go.mod does not require %s", module, required)
}

var sandbox = regexp.MustCompile(`(?m)^\s*sandbox_image\s*=\s*"([^"]+)"`)

// pauseImage is the name that kind's containerd configuration has for it.
func (s sources) pauseImage() (string, error) {
	for _, f := range s.below("kind") {
		if f.name == "etc/containerd/config.toml" {
			if m := sandbox.FindSubmatch(f.content); m != nil {
				return string(m[1]), nil
			}
		}
	}
	return "", errors.New("kind's containerd configuration names no sandbox_image")
}

var (
	// baseFiles are those that a base built here has beside kind's; common are
	// those that kindest/node gets as well.
	//go:embed files
	baseFiles embed.FS
	//go:embed common
	commonFiles embed.FS
	//go:embed scripts/setup.sh
	setupScript string
	//go:embed scripts/import.sh
	importScript string
)

// embedded lists the files below dir by their paths on the node.
func embedded(fsys embed.FS, dir string) ([]sourceFile, error) {
	var out []sourceFile
	err := fs.WalkDir(fsys, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fsys.ReadFile(p)
		out = append(out, sourceFile{strings.TrimPrefix(p, dir+"/"), 0o644, content})
		return err
	})
	return out, err
}

// inputs are files as inputs of a hash.
func inputs(files []sourceFile) []string {
	var out []string
	for _, f := range files {
		out = append(out, f.name, string(f.content))
	}
	return out
}
