// Package probeimage packs labprobe into container images from scratch: one
// with the native program for runtimes that share or emulate Linux, one with
// the WebAssembly module. No registry takes part; the archives are loaded
// into the nodes.
package probeimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Repository is what the images' references begin with where they are loaded
// into nodes: localhost is a registry that no node has.
const Repository = "localhost/labctl/"

// Image is one image, complete in memory.
type Image struct {
	// Ref names the image; its tag is made from the content.
	Ref string
	img v1.Image
	tag name.Tag
}

// Native packs labprobe built static for linux; architecture is a GOARCH.
func Native(program []byte, architecture string) (*Image, error) {
	return build("labprobe", "labprobe", program, architecture)
}

// Wasm packs labprobe built for wasip1. The image claims the platform of the
// node, linux/architecture, or containerd would not unpack it; the runtime
// knows a module by the entrypoint's ending (crun's variant compat-smart).
func Wasm(module []byte, architecture string) (*Image, error) {
	return build("labprobe-wasm", "labprobe.wasm", module, architecture)
}

func build(repository, file string, program []byte, architecture string) (*Image, error) {
	img, err := pack(file, program, architecture)
	if err != nil {
		return nil, fmt.Errorf("pack %s into an image: %w", file, err)
	}
	id, err := img.ConfigName() // covers the layers' digests
	if err != nil {
		return nil, fmt.Errorf("pack %s into an image: %w", file, err)
	}
	tag, err := name.NewTag(Repository+repository+":"+id.Hex[:16], name.StrictValidation)
	if err != nil {
		return nil, fmt.Errorf("pack %s into an image: %w", file, err)
	}
	return &Image{Ref: tag.Name(), img: img, tag: tag}, nil
}

// WriteTo writes a docker-archive, which ctr images import, podman load and
// docker load read. The bytes depend on the content alone.
func (i *Image) WriteTo(w io.Writer) (int64, error) {
	c := &counter{w: w}
	if err := tarball.Write(i.tag, i.img, c); err != nil {
		return c.n, fmt.Errorf("write image %s: %w", i.Ref, err)
	}
	return c.n, nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func pack(file string, program []byte, architecture string) (v1.Image, error) {
	if len(program) == 0 {
		return nil, fmt.Errorf("the program is empty; build labctl with its payload (make build)")
	}
	content, err := rootfs(file, program)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = architecture, "linux"
	config.Config.Entrypoint = []string{"/" + file}
	config.Config.WorkingDir = "/"
	return mutate.ConfigFile(img, config)
}

// rootfs is the image's whole file system: the program and a /tmp for the
// measurements that write.
func rootfs(file string, program []byte) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	epoch := time.Unix(0, 0)
	for _, e := range []struct {
		header tar.Header
		data   []byte
	}{
		{tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777, ModTime: epoch}, nil},
		{tar.Header{Name: file, Typeflag: tar.TypeReg, Mode: 0o755, ModTime: epoch, Size: int64(len(program))}, program},
	} {
		if err := w.WriteHeader(&e.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
