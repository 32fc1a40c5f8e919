//go:build e2e

package k3sbox

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeImages writes the air-gap archive: the images that the stand-in's
// manifests and the sandboxes of Pods name, by the names that K3s has, from
// scratch.
func writeImages(file string, programs map[string]string, packages string, v partVersions) error {
	refs := map[name.Reference]v1.Image{}
	for ref, content := range map[string][]layerEntry{
		"docker.io/rancher/mirrored-pause:3.6":                    {{path: "pause", from: programs["pause"] + "/pause"}},
		"docker.io/rancher/mirrored-coredns-coredns:" + v.CoreDNS: {{path: "coredns", from: programs["coredns"] + "/coredns"}},
		"docker.io/rancher/local-path-provisioner:" + v.LocalPath: {{path: "local-path-provisioner", from: programs["local-path"] + "/local-path-provisioner"}},
		"docker.io/rancher/mirrored-library-busybox:" + v.Busybox: {
			{path: "bin/busybox", from: packages + "/usr/bin/busybox"},
			{path: "bin/sh", link: "busybox"}, {path: "bin/mkdir", link: "busybox"}, {path: "bin/rm", link: "busybox"},
			{path: "bin/sleep", link: "busybox"},
		},
	} {
		tag, err := name.NewTag(ref)
		if err != nil {
			return err
		}
		layer, err := makeLayer(content)
		if err != nil {
			return err
		}
		img, err := makeImage([]v1.Layer{layer}, v1.Config{
			Entrypoint: []string{"/" + content[0].path}, Env: []string{"PATH=/bin:/"},
		})
		if err != nil {
			return err
		}
		refs[tag] = img
	}
	return tarball.MultiRefWriteToFile(file, refs)
}

// layerEntry is a file of a layer: from this machine, of these bytes, or a
// link.
type layerEntry struct {
	path, from, link string
	content          []byte
	mode             int64 // 0 is 0755
}

func makeLayer(entries []layerEntry) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.path, Mode: e.mode, Format: tar.FormatPAX}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		content := e.content
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case e.from != "":
			var err error
			if content, err = os.ReadFile(filepath.FromSlash(e.from)); err != nil {
				return nil, err
			}
		}
		h.Size = int64(len(content))
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

func makeImage(layers []v1.Layer, config v1.Config) (v1.Image, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	return mutate.ConfigFile(img, file)
}
