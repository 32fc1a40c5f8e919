// Package gomodule builds the Go modules below images/, which pin the
// programs that nodes and add-ons are made of, and takes files out of the
// modules that they require. What it makes are artifacts in labctl's cache.
package gomodule

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// Sources are the files below images/, as the payload carries them.
type Sources struct {
	Files []File
	Hash  string // SHA-256 of the whole archive, in hex
}

// File is one file of the sources.
type File struct {
	Name    string // FOLDER/…, slash-separated
	Mode    int64
	Content []byte
}

// ReadSources reads a tar archive of the payload.
func ReadSources(archive []byte) (Sources, error) {
	sum := sha256.Sum256(archive)
	s := Sources{Hash: hex.EncodeToString(sum[:])}
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
		s.Files = append(s.Files, File{Name: h.Name, Mode: h.Mode, Content: content})
	}
}

// Below gives the files of one folder, by their names inside of it.
func (s Sources) Below(dir string) []File {
	var out []File
	for _, f := range s.Files {
		if name, ok := strings.CutPrefix(f.Name, dir+"/"); ok {
			f.Name = name
			out = append(out, f)
		}
	}
	return out
}

// Digest is the SHA-256 of one folder's names and contents, in hex.
func (s Sources) Digest(dir string) string {
	h := sha256.New()
	for _, f := range s.Below(dir) {
		_, _ = fmt.Fprintf(h, "%s %d %d\n", f.Name, f.Mode, len(f.Content)) // a hash takes everything
		_, _ = h.Write(f.Content)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Unpack writes the files of one folder to the disk.
func (s Sources) Unpack(dir, dst string) error {
	for _, f := range s.Below(dir) {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("sources of the images: %s lies outside of its folder", f.Name)
		}
		p := filepath.Join(dst, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, f.Content, fs.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	return nil
}

// Version is that of a module that another module's go.mod requires.
func (s Sources) Version(module, required string) (string, error) {
	for _, f := range s.Below(module) {
		if f.Name != "go.mod" {
			continue
		}
		m, err := modfile.ParseLax(path.Join(module, f.Name), f.Content, nil)
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
