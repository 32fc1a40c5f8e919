package probeimage_test

import (
	"archive/tar"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolation-stack/labctl/pkg/probeimage"
)

func archive(t *testing.T, i *probeimage.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if n, err := i.WriteTo(&buf); err != nil || n != int64(buf.Len()) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, buf.Len(), err)
	}
	return buf.Bytes()
}

func TestImages(t *testing.T) {
	type pack func([]byte, string) (*probeimage.Image, error)
	for _, c := range []struct {
		name       string
		pack       pack
		repository string
		file       string
	}{
		{"native", probeimage.Native, "localhost/labctl/labprobe:", "labprobe"},
		{"wasm", probeimage.Wasm, "localhost/labctl/labprobe-wasm:", "labprobe.wasm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			program := []byte("a program")
			i, err := c.pack(program, "arm64")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(i.Ref, c.repository) {
				t.Errorf("ref %s, want %s…", i.Ref, c.repository)
			}
			b := archive(t, i)
			img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, nil)
			if err != nil {
				t.Fatal(err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.OS != "linux" || config.Architecture != "arm64" || !slices.Equal(config.Config.Entrypoint, []string{"/" + c.file}) {
				t.Errorf("config %+v", config)
			}
			if got := read(t, img, c.file); !bytes.Equal(got, program) {
				t.Errorf("%s holds %q", c.file, got)
			}
		})
	}
}

func read(t *testing.T, img v1.Image, file string) []byte {
	t.Helper()
	root := mutate.Extract(img)
	defer func() { _ = root.Close() }() // a reader in memory
	r := tar.NewReader(root)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if h.Name == file {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
}

// The tag says what is inside: the same content has the same tag and bytes,
// other content, architecture or entrypoint another.
func TestTagByContent(t *testing.T) {
	build := func(i *probeimage.Image, err error) *probeimage.Image {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	one := build(probeimage.Native([]byte("one"), "amd64"))
	again := build(probeimage.Native([]byte("one"), "amd64"))
	if one.Ref != again.Ref || !bytes.Equal(archive(t, one), archive(t, again)) {
		t.Error("the same content gives different images")
	}
	tag := func(ref string) string { return ref[strings.LastIndex(ref, ":"):] }
	for _, other := range []*probeimage.Image{
		build(probeimage.Native([]byte("two"), "amd64")),
		build(probeimage.Native([]byte("one"), "arm64")),
		build(probeimage.Wasm([]byte("one"), "amd64")),
	} {
		if tag(other.Ref) == tag(one.Ref) {
			t.Errorf("%s has the tag of %s", other.Ref, one.Ref)
		}
	}
}

func TestEmptyProgram(t *testing.T) {
	if _, err := probeimage.Native(nil, "amd64"); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("an empty program: %v", err)
	}
}
