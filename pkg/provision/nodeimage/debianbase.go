package nodeimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
	"golang.org/x/sync/errgroup"
)

var (
	// iptablesPackages are what kube-proxy and podnetwork call; base-files has
	// the links of the merged /usr, without which no dynamic loader is found.
	iptablesPackages = []string{"base-files", "iptables"}
	// busyboxPackages are the shell of local-path-provisioner's helper.
	busyboxPackages = []string{"base-files", "busybox-static"}
)

// ensureDebianBase returns the base image, which it builds unless the engine
// has it.
func (b *builder) ensureDebianBase(ctx context.Context) (ref string, err error) {
	if ref, err = b.base(); err != nil {
		return "", err
	}
	if ok, err := b.has(ctx, ref); err != nil || ok {
		return ref, err
	}
	var root string
	var r roots
	var bins map[string]string
	// Packages wait for the network and the disk, the compiler for the CPU.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if root, err = b.tar(gctx, "debian-root", b.pins.Debian.Node, "Debian "+b.pins.Debian.Suite, rootTar); err != nil {
			return err
		}
		if r.iptables, err = b.tar(gctx, "debian-iptables", iptablesPackages, "iptables", extractTar); err != nil {
			return err
		}
		r.busybox, err = b.tar(gctx, "debian-busybox", busyboxPackages, "busybox", extractTar)
		return err
	})
	g.Go(func() (err error) {
		bins, err = b.programs(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return "", err
	}
	return ref, b.assembleBase(ctx, ref, root, r, bins)
}

type variant int

const (
	rootTar variant = iota
	extractTar
)

// tar returns the tar file of a root file system with the packages.
func (b *builder) tar(ctx context.Context, kind string, packages []string, title string, v variant) (path string, err error) {
	// The mirror is no input: every mirror serves what Debian has signed.
	key := artifact.Key{Name: kind, Inputs: append([]string{recipe, b.pins.Debian.Suite, runtime.GOARCH}, packages...)}
	const file = "root.tar"
	if b.cache.Has(key) {
		return filepath.Join(b.cache.Path(key), file), nil
	}
	step := b.log.Start(title + " from packages")
	defer func() { step.End(err) }()
	apt, err := b.apt(ctx)
	if err != nil {
		return "", err
	}
	dir, err := b.cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		if v == extractTar {
			return apt.Extract(ctx, filepath.Join(dir, file), packages...)
		}
		return apt.Root(ctx, filepath.Join(dir, file), packages...)
	})
	return filepath.Join(dir, file), err
}

// assembleBase loads the root and the files as an image, and finishes it in a
// build container: kind's setup, and the images of the control plane.
func (b *builder) assembleBase(ctx context.Context, ref, root string, r roots, bins map[string]string) (err error) {
	step := b.log.Start("Base of the node image")
	defer func() { step.End(err) }()
	const steps = 5
	v, err := b.versions()
	if err != nil {
		return err
	}
	step.Update(0, steps, "images of the control plane")
	imgs, err := b.controlPlane(ctx, bins, v, r)
	if err != nil {
		return err
	}
	step.Update(1, steps, "load")
	c, err := reserve(b.engine, b.cache.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	if err := b.loadRaw(ctx, c, root, bins, v); err != nil {
		return err
	}
	step.Update(2, steps, "set up")
	if err := c.start(ctx, c.raw()); err != nil {
		return err
	}
	if _, err := c.run(ctx, setupScript, nil); err != nil {
		return err
	}
	step.Update(3, steps, "import the images of the control plane")
	images := archive(imgs)
	defer func() { _ = images.Close() }() // ends the writer where ctr ends early
	if _, err := c.run(ctx, importScript, images); err != nil {
		return err
	}
	step.Update(4, steps, "commit")
	return c.commit(ctx, ref)
}

// loadRaw loads the root and the files into the engine as the container's own
// image.
func (b *builder) loadRaw(ctx context.Context, c *container, root string, bins map[string]string, v versions) error {
	files, err := b.nodeFiles(bins, v)
	if err != nil {
		return err
	}
	rootLayer, err := tarball.LayerFromFile(root, tarball.WithCompressionLevel(ociimage.Stored))
	if err != nil {
		return err
	}
	filesLayer, err := ociimage.Layer(ociimage.Stored, files)
	if err != nil {
		return err
	}
	// The author makes it another image than that of a build beside this one.
	img, err := ociimage.Assemble(runtime.GOARCH, c.name, v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}}, rootLayer, filesLayer)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(c.raw())
	if err != nil {
		return err
	}
	in := archive(map[name.Tag]v1.Image{tag: img})
	defer func() { _ = in.Close() }() // ends the writer where the engine ends early
	// podman keeps a copy of its input, and leaves it behind when it is killed.
	if err := os.MkdirAll(c.tmp(), 0o700); err != nil {
		return err
	}
	cmd := b.engine.Command("load")
	cmd.Stdin, cmd.Env = in, append(slices.Clone(cmd.Env), "TMPDIR="+c.tmp())
	_, err = process.Run(ctx, cmd)
	return err
}

// nodeFiles are the files of a node beside Debian's packages.
func (b *builder) nodeFiles(bins map[string]string, v versions) ([]ociimage.Entry, error) {
	ours, err := embedded(baseFiles, "files")
	if err != nil {
		return nil, err
	}
	common, err := embedded(commonFiles, "common")
	if err != nil {
		return nil, err
	}
	var out []ociimage.Entry
	// The later of two files of one path counts.
	for _, f := range append(append(b.src.Below("kind"), ours...), common...) {
		out = slices.DeleteFunc(out, func(e ociimage.Entry) bool { return e.Path == "/"+f.Name })
		out = append(out, ociimage.Entry{Path: "/" + f.Name, Mode: f.Mode, Content: v.fill(f.Content)})
	}
	containerd, err := os.ReadDir(bins["containerd"])
	if err != nil {
		return nil, fmt.Errorf("containerd's programs: %w", err)
	}
	for _, f := range containerd {
		if !strings.HasPrefix(f.Name(), ".") {
			out = append(out, ociimage.Binary("/usr/local/bin", filepath.Join(bins["containerd"], f.Name())))
		}
	}
	out = append(out, k8sEntries("/usr/bin", bins["kubernetes"], []string{"kubeadm", "kubectl", "kubelet"})...)
	// Debian has the CNI plug-ins in a folder of its own.
	for _, plugin := range []string{"host-local", "loopback", "portmap", "ptp"} {
		out = append(out, links("/usr/lib/cni/"+plugin, "/opt/cni/bin/"+plugin)...)
	}
	out = append(out, links("/usr/lib/systemd/systemd", "/usr/sbin/init")...)
	return append(out,
		ociimage.Entry{Path: "/kind/version", Mode: 0o644, Content: []byte(v.kubernetes)},
	), nil
}
