// Package ociimage makes container images from scratch, without an engine:
// layers of files of this machine, and a configuration.
package ociimage

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Entry is one file of a layer, owned by root.
type Entry struct {
	Path string // in the image, absolute; a folder's ends in /
	Mode int64
	// One of these is the content; Link is a symbolic link's target.
	From    string // a file on this machine
	Content []byte
	Link    string
}

// Layer is a layer of these entries. The same entries give the same bytes.
func Layer(compression int, entries []Entry) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(Write(w, entries)) }()
		return r, nil
	}
	return tarball.LayerFromOpener(open, tarball.WithCompressionLevel(compression))
}

// Write writes the entries as a tar archive.
func Write(out io.Writer, entries []Entry) error {
	w := tar.NewWriter(out)
	for _, e := range entries {
		if err := writeEntry(w, e); err != nil {
			return fmt.Errorf("layer: %s: %w", e.Path, err)
		}
	}
	return w.Close()
}

func writeEntry(w *tar.Writer, e Entry) error {
	h := &tar.Header{Name: strings.TrimPrefix(e.Path, "/"), Mode: e.Mode, Format: tar.FormatPAX}
	switch {
	case strings.HasSuffix(e.Path, "/"):
		h.Typeflag = tar.TypeDir
		return w.WriteHeader(h)
	case e.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
		return w.WriteHeader(h)
	case e.From == "":
		h.Size = int64(len(e.Content))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(e.Content)
		return err
	}
	f, err := os.Open(e.From)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// Binary is an executable file of a layer.
func Binary(dir, from string) Entry {
	return Entry{Path: path.Join(dir, path.Base(from)), Mode: 0o755, From: from}
}

// Assemble makes an image for an architecture, a GOARCH.
func Assemble(arch, author string, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Author, file.Config = "linux", arch, author, config
	return mutate.ConfigFile(img, file)
}

// Levels of compression: what only goes to the engine on this machine is
// stored, what stays in the node image is packed quickly.
const (
	Stored = gzip.NoCompression
	Packed = gzip.BestSpeed
)
