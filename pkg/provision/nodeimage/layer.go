package nodeimage

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

// entry is one file of a layer, owned by root.
type entry struct {
	path string // on the node, absolute
	mode int64
	// One of these is the content; link is a symbolic link's target.
	from    string // a file on this machine
	content []byte
	link    string
}

// layer is a layer of these entries. The same entries give the same bytes.
func layer(compression int, entries []entry) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeEntries(w, entries)) }()
		return r, nil
	}
	return tarball.LayerFromOpener(open, tarball.WithCompressionLevel(compression))
}

func writeEntries(out io.Writer, entries []entry) error {
	w := tar.NewWriter(out)
	for _, e := range entries {
		if err := writeEntry(w, e); err != nil {
			return fmt.Errorf("layer: %s: %w", e.path, err)
		}
	}
	return w.Close()
}

func writeEntry(w *tar.Writer, e entry) error {
	h := &tar.Header{Name: strings.TrimPrefix(e.path, "/"), Mode: e.mode, Format: tar.FormatPAX}
	switch {
	case e.link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.link, 0o777
		return w.WriteHeader(h)
	case e.from == "":
		h.Size = int64(len(e.content))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := w.Write(e.content)
		return err
	}
	f, err := os.Open(e.from)
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

// binary is an executable file of a layer.
func binary(dir, from string) entry {
	return entry{path: path.Join(dir, path.Base(from)), mode: 0o755, from: from}
}

// assemble makes an image for this machine's architecture.
func assemble(arch, author string, config v1.Config, layers ...v1.Layer) (v1.Image, error) {
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
	stored = gzip.NoCompression
	packed = gzip.BestSpeed
)
