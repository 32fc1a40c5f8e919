package addon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sync/errgroup"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/probeimage"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// reference is the image's name wherever it is, whoever made it. The tag says
// which sources it was made from, so that a node with an older image of the
// same version gets the new one.
func (i Image) reference(src gomodule.Sources) (string, error) {
	version, err := src.Version(i.Module, i.Requires)
	return probeimage.Repository + i.Name + ":" + version + "-" + src.Digest(i.Module)[:8], err
}

// program is how the image's module is built. Images of one module share one
// build, so what decides it is of all of them.
func program(table []Addon, module string, src gomodule.Sources) (gomodule.Program, error) {
	p := gomodule.Program{Module: module, Packages: "tool", Title: module}
	seen := map[string]bool{}
	for _, a := range table {
		for _, i := range a.Images {
			if i.Module != module {
				continue
			}
			version, err := src.Version(module, i.Requires)
			if err != nil {
				return p, err
			}
			p.Title = module + " " + version
			if i.Version == "" || seen[i.Version] {
				continue
			}
			seen[i.Version] = true
			p.Ldflags = append(p.Ldflags, "-X", i.Version+"="+version)
		}
	}
	return p, nil
}

// Parts are the artifacts that the add-ons of a table are made of.
func Parts(table []Addon, b gomodule.Builder) ([]gomodule.Part, error) {
	var parts []gomodule.Part
	seen := map[string]bool{}
	add := func(p gomodule.Part) {
		if id := p.Key.ID(); !seen[id] {
			seen[id] = true
			parts = append(parts, p)
		}
	}
	for _, a := range table {
		for _, i := range a.Images {
			p, err := program(table, i.Module, b.Sources)
			if err != nil {
				return nil, err
			}
			add(b.Part(p))
		}
		for _, u := range a.Upstream {
			add(b.FilesPart(u.Module, u.Requires, u.Files...))
		}
	}
	return parts, nil
}

// images sees that every node has the add-on's images, and gives their
// references as Pods name them, by the images' short names.
func (s *Set) images(ctx context.Context, a Addon) (map[string]string, error) {
	refs := map[string]string{}
	for _, i := range a.Images {
		ref, err := i.reference(s.builder.Sources)
		if err != nil {
			return nil, err
		}
		if err := s.load(ctx, i, ref); err != nil {
			return nil, fmt.Errorf("image %s: %w", ref, err)
		}
		refs[i.Name] = inPods(s.cluster, ref)
	}
	return refs, nil
}

// inPods is the reference that Pods pull: another one where a registry stands
// between labctl and the nodes.
func inPods(cluster provision.Cluster, ref string) string {
	if c, ok := cluster.(interface{ ImageReference(ref string) string }); ok {
		return c.ImageReference(ref)
	}
	return ref
}

func (s *Set) load(ctx context.Context, i Image, ref string) error {
	there, err := s.cluster.HasImage(ctx, ref)
	if err != nil || there {
		return err
	}
	p, err := program(s.table, i.Module, s.builder.Sources)
	if err != nil {
		return err
	}
	var dir string
	var below []v1.Layer
	// Packages wait for the network and the disk, the compiler for the CPU.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		dir, err = s.builder.Build(gctx, p)
		return err
	})
	if i.Below != nil {
		g.Go(func() (err error) {
			below, err = i.Below(gctx, s.builder)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return unavailable(err)
	}
	img, err := i.assemble(dir, below)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(ref, name.StrictValidation)
	if err != nil {
		return err
	}
	step := s.log.Start("Loading " + ref)
	err = s.cluster.LoadImages(ctx, func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(tarball.Write(tag, img, w)) }()
		return r, nil
	})
	step.End(err)
	return err
}

// unavailable tells what this machine can't have from what is broken.
func unavailable(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, gomodule.ErrDownload) {
		return evidence.Untestablef("%v", err)
	}
	return err
}

// assemble makes the image: its programs of the folder with the module's, on
// the layers below.
func (i Image) assemble(dir string, below []v1.Layer) (v1.Image, error) {
	entries := []ociimage.Entry{{Path: "/tmp/", Mode: 0o1777}}
	for _, p := range append([]string{i.Program}, i.Beside...) {
		entries = append(entries, ociimage.Binary("/", filepath.Join(dir, p)))
	}
	layer, err := ociimage.Layer(ociimage.Stored, entries)
	if err != nil {
		return nil, err
	}
	return ociimage.Assemble(runtime.GOARCH, "labctl", v1.Config{
		Entrypoint: append([]string{"/" + i.Program}, i.Args...),
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"},
		User:       i.User,
		WorkingDir: "/",
	}, append(below, layer)...)
}
