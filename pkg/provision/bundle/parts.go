package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

func (w *writer) installer(ctx context.Context) error {
	script, err := installer.Fetch(ctx, w.o.Installer, w.partial, w.log)
	if err != nil {
		return err
	}
	return w.add(ctx, Installer, filepath.Base(script.Path))
}

// k3s brings the binary and the images: files, or those of the release.
func (w *writer) k3s(ctx context.Context) (err error) {
	step := w.log.Start("K3s and its images")
	defer func() { step.End(err) }()
	var release published
	if w.o.Binary == "" || len(w.o.Images) == 0 {
		if release, err = w.o.Release.find(ctx, w.o.Version, w.o.Channel, w.o.Architecture); err != nil {
			return fmt.Errorf("K3s's releases: %w; give the files with --k3s-binary FILE and --images FILE", err)
		}
		w.index.K3sVersion = release.version
	}
	binary := filepath.Join(w.partial, "k3s")
	if w.o.Binary == "" {
		step.Update(0, 2, "download k3s "+release.version)
		err = release.download(ctx, release.binary(), binary, 0o755)
	} else {
		err = copyFile(ctx, w.o.Binary, binary, 0o755)
	}
	if err != nil {
		return err
	}
	if err := w.checkBinary(ctx, binary); err != nil {
		return fmt.Errorf("K3s's binary: %w", err)
	}
	if err := w.add(ctx, K3s, "k3s"); err != nil {
		return err
	}
	if len(w.o.Images) == 0 {
		step.Update(1, 2, "download the images of "+release.version)
		name := release.images()
		if err := release.download(ctx, name, filepath.Join(w.partial, roles[Images], name), 0o644); err != nil {
			return err
		}
		return w.add(ctx, Images, name)
	}
	for _, image := range w.o.Images {
		name := filepath.Base(image)
		if err := copyFile(ctx, image, filepath.Join(w.partial, roles[Images], name), 0o644); err != nil {
			return err
		}
		if err := w.add(ctx, Images, name); err != nil {
			return err
		}
	}
	return nil
}

// checkBinary checks digest and architecture, and asks a binary of this
// machine's architecture for its version if nobody said it.
func (w *writer) checkBinary(ctx context.Context, binary string) error {
	if err := installer.CheckArchitecture(binary, w.o.Architecture); err != nil {
		return err
	}
	if want := strings.ToLower(strings.TrimSpace(w.o.BinarySHA256)); want != "" {
		got, err := digest(ctx, binary)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("its SHA-256 is %s, not %s; get it again", got, want)
		}
	}
	if w.index.K3sVersion == "" && w.o.Architecture == runtime.GOARCH {
		r, err := process.Run(ctx, process.Command{Argv: []string{binary, "--version"}, Log: w.log.Output()})
		if err != nil {
			return fmt.Errorf("it doesn't tell its version: %w", err)
		}
		w.index.K3sVersion = versionOf(string(r.Stdout))
	}
	return nil
}

// version is what `k3s --version` begins with: k3s version v1.34.1+k3s1 (…).
var version = regexp.MustCompile(`^k3s version (\S+)`)

func versionOf(said string) string {
	if m := version.FindStringSubmatch(said); m != nil {
		return m[1]
	}
	return ""
}

// apt opens labctl's own apt for the box's release. One for another release
// or architecture than the node image's has a folder of its own. Debian's names
// of the two architectures are Go's.
func (w *writer) apt(ctx context.Context, suite, architecture string) (*debian.Apt, error) {
	dir := "apt"
	if suite != w.pinned || architecture != runtime.GOARCH {
		dir += "-" + suite + "-" + architecture
	}
	return debian.Open(ctx, debian.Options{
		Dir: filepath.Join(w.o.Cache.Dir, dir), Suite: suite, Architecture: architecture,
		Mirror: w.o.DebianMirror, Log: w.log.Output(),
	})
}

func (w *writer) packages(ctx context.Context) (err error) {
	step := w.log.Start("Debian packages of " + w.o.Suite)
	defer func() { step.End(err) }()
	apt, err := w.apt(ctx, w.o.Suite, w.o.Architecture)
	if err != nil {
		return err
	}
	dir := filepath.Join(w.partial, roles[Package])
	debs, err := apt.Closure(ctx, dir, w.o.Packages...)
	if err != nil {
		return err
	}
	for _, d := range debs {
		f := File{Path: filepath.Join(dir, d.Name), SHA256: d.SHA256, Size: d.Size}
		if err := f.check(ctx, dir); err != nil {
			return fmt.Errorf("%s: %w; remove it and run again", f.Path, err)
		}
		w.index.Files = append(w.index.Files, entry{Path: roles[Package] + "/" + d.Name, Role: Package, Size: d.Size, SHA256: d.SHA256})
	}
	return nil
}

// programs brings gVisor's shim, and runsc if a release has it. What else a
// node needs is in labctl itself.
func (w *writer) programs(ctx context.Context) error {
	dir, err := runtimes.Shim(ctx, w.o.Cache, shimSource{w}, runtimes.ShimOptions{GVisorDir: w.o.GVisorDir, Architecture: w.o.Architecture}, w.log)
	if err != nil {
		return err
	}
	found := 0
	for _, name := range []string{"containerd-shim-runsc-v1", "runsc"} {
		dst := filepath.Join(w.partial, roles[Program], name)
		err := copyFile(ctx, filepath.Join(dir, name), dst, 0o755)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = installer.CheckArchitecture(dst, w.o.Architecture)
		}
		if err == nil {
			err = w.add(ctx, Program, name)
		}
		if err != nil {
			return fmt.Errorf("gVisor's %s: %w", name, err)
		}
		found++
	}
	if found == 0 {
		return fmt.Errorf("no program of gVisor is in %s", dir)
	}
	return nil
}

// shimSource opens the apt of the pinned release, whose source the shim is
// built from, when there is none in the cache.
type shimSource struct{ w *writer }

func (s shimSource) Source(ctx context.Context, dir, name string) ([]string, error) {
	apt, err := s.w.apt(ctx, s.w.pinned, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	return apt.Source(ctx, dir, name)
}

// copyFile copies a file beside its place and renames it, so that a link to
// another bundle's file is replaced and not written through.
func copyFile(ctx context.Context, src, dst string, mode os.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	return place(dst, mode, func(f *os.File) error {
		_, err := io.Copy(f, reader{ctx, in})
		return err
	})
}

// place makes a file of what fill writes; it has its name when it is whole.
func place(dst string, mode os.FileMode, fill func(*os.File) error) error {
	tmp := dst + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, dst)
}
