// Package prebuilt moves artifacts of labctl's cache between machines: as OCI
// images of one layer, in a registry or a folder, each known by its digest.
// Nobody on the way has to be trusted.
package prebuilt

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"

	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// Image is an artifact's folder as an image of one layer. The same files give
// the same digest with the same release of Go, whose gzip packs them.
func Image(dir string) (v1.Image, error) {
	var entries []ociimage.Entry
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == artifact.ManifestName {
			return err
		}
		e := ociimage.Entry{Path: "/" + filepath.ToSlash(rel), Mode: 0o644, From: p}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode.IsDir():
			e.Path, e.From, e.Mode = e.Path+"/", "", 0o755
		case mode&fs.ModeSymlink != 0:
			e.From = ""
			e.Link, err = os.Readlink(p)
		case !mode.IsRegular():
			err = fmt.Errorf("%s is no file, folder or link", rel)
		case mode&0o100 != 0:
			e.Mode = 0o755
		}
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", filepath.Base(dir), err)
	}
	layer, err := ociimage.Layer(ociimage.Packed, entries)
	if err != nil {
		return nil, err
	}
	return ociimage.Assemble(runtime.GOARCH, "labctl", v1.Config{}, layer)
}

// errContent is an image whose bytes are not those of its digest.
var errContent = errors.New("the content is not that of the digest")

// unpack writes the image's files into an empty folder. Manifest and layer are
// checked here, wherever they come from: a folder's are checked by nobody else.
// moved is told how many bytes of the layer have come.
func unpack(ctx context.Context, img v1.Image, digest v1.Hash, dir string, moved func(done, size int64)) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(manifest); digest.Algorithm != "sha256" || hex.EncodeToString(sum[:]) != digest.Hex {
		return fmt.Errorf("%w: its manifest has another one than %s", errContent, digest)
	}
	layers, err := partial.Manifest(img)
	if err != nil {
		return err
	}
	if len(layers.Layers) != 1 {
		return fmt.Errorf("%w: it has %d layers, not one", errContent, len(layers.Layers))
	}
	want := layers.Layers[0]
	layer, err := img.LayerByDigest(want.Digest)
	if err != nil {
		return err
	}
	r, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	in := &counted{ctx: ctx, r: io.LimitReader(r, want.Size+1), sum: sha256.New(), moved: func(n int64) { moved(n, want.Size) }}
	zip, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	if err := extract(zip, dir); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	if got := hex.EncodeToString(in.sum.Sum(nil)); in.n != want.Size || want.Digest.Algorithm != "sha256" || got != want.Digest.Hex {
		return fmt.Errorf("%w: its layer has %d bytes with the SHA-256 %s, not %d with %s", errContent, in.n, got, want.Size, want.Digest)
	}
	return nil
}

// counted hashes and counts what is read, and ends when ctx does.
type counted struct {
	ctx   context.Context
	r     io.Reader
	sum   hash.Hash
	n     int64
	moved func(int64)
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	_, _ = c.sum.Write(p[:n]) // a hash never fails (hash.Hash)
	c.n += int64(n)
	c.moved(c.n)
	return n, err
}

// extract writes what a tar archive holds below dir: files, folders and links
// to what is beside them. Nothing leads outside (os.Root).
func extract(archive io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // every file has been closed
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			// What follows the end belongs to the layer's digest too.
			_, err := io.Copy(io.Discard, archive)
			return err
		}
		if err != nil {
			return err
		}
		if err := one(root, h, r); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func one(root *os.Root, h *tar.Header, content io.Reader) error {
	name := path.Clean(h.Name)
	if name == artifact.ManifestName || !filepath.IsLocal(name) {
		return errors.New("no name of an artifact's file")
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		if strings.Contains(h.Linkname, "/") || !filepath.IsLocal(h.Linkname) {
			return fmt.Errorf("a link to %s, which is not beside it", h.Linkname)
		}
		return root.Symlink(h.Linkname, name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("a tar entry of type %q", h.Typeflag)
}
