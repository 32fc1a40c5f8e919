package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
)

// Options say what a bundle is made of. The zero value of each is the default.
type Options struct {
	// Output is the folder to make, or a bundle to make anew.
	Output string
	// Architecture is the GOARCH of the box; "" is this machine's.
	Architecture string
	// Installer is K3s's install script.
	Installer installer.Source
	// Binary is a K3s binary; "" downloads it. BinarySHA256 (hex) is checked
	// if it is given.
	Binary, BinarySHA256 string
	// Version (v1.34.1+k3s1) is the release to download; "" is the newest of
	// Channel ("" is stable). With Binary and Images it only goes to the index.
	Version, Channel string
	// Images are archives for K3s's folder of images; none downloads those of
	// the release.
	Images []string
	// Packages are the Debian packages that the box needs, which are fetched
	// with what they depend on.
	Packages []string
	// DebianMirror is an archive's URI; "" takes it from the machine's apt
	// sources. Suite is the box's Debian release; "" is the pinned one.
	DebianMirror, Suite string
	// GVisorDir is a folder with a gVisor release; "" builds gVisor's shim
	// from Debian's source.
	GVisorDir string
	// Cache is labctl's cache.
	Cache artifact.Cache
	// Release is where K3s's releases are; the zero value is GitHub.
	Release Release
}

// Write makes a bundle. It is written into OUTPUT.partial and gets its name
// when it is whole and checked; a second run goes on with what an interrupted
// one has there.
func Write(ctx context.Context, o Options, log progress.Log) error {
	w, err := newWriter(o, log)
	if err != nil {
		return err
	}
	unlock, err := filelock.TryLock(w.partial + ".lock")
	if err != nil {
		return fmt.Errorf("bundle %s: %w", w.o.Output, err)
	}
	defer func() {
		_ = os.Remove(w.partial + ".lock") // while it is held, as filelock wants it
		unlock()
	}()
	if err := w.write(ctx); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			err = fmt.Errorf("%w; a bundle needs about 600 MB where it is made and 100 MB below %s", err, o.Cache.Dir)
		}
		if w.discard() {
			return fmt.Errorf("bundle %s: %w", w.o.Output, err)
		}
		return fmt.Errorf("bundle %s: %w\nWhat there is stays in %s, and the same command goes on from there", w.o.Output, err, w.partial)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("bundle %s: %w", w.o.Output, err)
	}
	log.Info("The bundle is %s. %s", w.o.Output, w.index.summary())
	return nil
}

// summary is one line for a person.
func (in index) summary() string {
	var size int64
	for _, e := range in.Files {
		size += e.Size
	}
	version := in.K3sVersion
	if version == "" {
		version = "of a version that isn't known"
	}
	return fmt.Sprintf("K3s %s and the runtimes for linux/%s with Debian %s: %d files, %d MB", version, in.Architecture, in.Suite, len(in.Files), size/1e6)
}

// writer is one bundle in the making.
type writer struct {
	o       Options
	partial string // the folder that becomes the bundle
	log     progress.Log
	pinned  string // the suite that gVisor's shim is built for
	index   index
}

func newWriter(o Options, log progress.Log) (*writer, error) {
	if o.Output == "" {
		return nil, errors.New("no folder for the bundle; name one with --output DIR")
	}
	pins, err := images.ReadPins()
	if err != nil {
		return nil, fmt.Errorf("images/pins.yaml: %w", err)
	}
	if o.Suite == "" {
		o.Suite = pins.Debian.Suite
	}
	if o.Architecture == "" {
		o.Architecture = runtime.GOARCH
	}
	if o.Release.Client == nil {
		o.Release.Client = http.DefaultClient
	}
	if o.Output, err = filepath.Abs(o.Output); err != nil {
		return nil, err
	}
	w := &writer{o: o, partial: o.Output + ".partial", log: log, pinned: pins.Debian.Suite}
	w.index = index{APIVersion: apiVersion, Kind: kind, Architecture: o.Architecture, K3sVersion: o.Version, Suite: o.Suite}
	return w, errors.Join(w.possible(), replaceable(o.Output))
}

// possible refuses at once what would fail late.
func (w *writer) possible() error {
	var errs []error
	if w.o.Architecture != "amd64" && w.o.Architecture != "arm64" {
		errs = append(errs, fmt.Errorf("no bundle for %s: gVisor runs on amd64 and arm64 only", w.o.Architecture))
	}
	if w.o.GVisorDir == "" && w.o.Suite != w.pinned {
		errs = append(errs, fmt.Errorf("gVisor's shim is built to fit the runsc of Debian %s, and the bundle is for %s; give a gVisor release with --gvisor DIR", w.pinned, w.o.Suite))
	}
	names := map[string]bool{}
	for _, image := range w.o.Images {
		name := filepath.Base(image)
		if names[name] {
			errs = append(errs, fmt.Errorf("--images names two files %s", name))
		}
		names[name] = true
		if !isArchive(name) {
			errs = append(errs, fmt.Errorf("--images %s: K3s loads archives that end in %s", image, strings.Join(ArchiveEndings(), ", ")))
		}
	}
	for _, file := range append([]string{w.o.Binary}, w.o.Images...) {
		if _, err := os.Stat(file); file != "" && err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// ArchiveEndings are those of the archives that K3s loads from its folder of
// images (https://docs.k3s.io/installation/airgap).
func ArchiveEndings() []string {
	return []string{".tar", ".tar.bz2", ".tbz", ".tar.gz", ".tgz", ".tar.lz4", ".tar.zst", ".tzst"}
}

func isArchive(name string) bool {
	return slices.ContainsFunc(ArchiveEndings(), func(e string) bool { return strings.HasSuffix(name, e) })
}

// replaceable refuses to put a bundle where anything else is.
func replaceable(output string) error {
	entries, err := os.ReadDir(output)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return nil
	case err != nil:
		return err
	}
	if _, err := readIndex(filepath.Join(output, IndexFile)); err != nil {
		return fmt.Errorf("%s is there and is no bundle (%w); name another folder with --output", output, err)
	}
	return nil
}

// write brings every part into the folder, then the index, and checks it all.
func (w *writer) write(ctx context.Context) error {
	if err := w.prepare(); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{w.installer, w.k3s, w.packages, w.programs} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	text, err := yaml.Marshal(w.index)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(w.partial, IndexFile), text, 0o644); err != nil {
		return err
	}
	if err := w.sweep(); err != nil {
		return err
	}
	step := w.log.Start("Checking the bundle")
	_, err = open(ctx, w.partial)
	step.End(err)
	return err
}

// old is where a bundle that is replaced waits until the new one has its name.
func (w *writer) old() string { return w.o.Output + ".replaced" }

// prepare makes the folder, and takes over by links what a bundle that stands
// in its place has: a part that didn't change isn't fetched again.
func (w *writer) prepare() error {
	if _, err := os.Stat(w.o.Output); errors.Is(err, fs.ErrNotExist) {
		// Of a run that was killed between the two renames of finish.
		if err := os.Rename(w.old(), w.o.Output); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, folder := range roles {
		if err := os.MkdirAll(filepath.Join(w.partial, folder), 0o755); err != nil {
			return err
		}
	}
	in, err := readIndex(filepath.Join(w.o.Output, IndexFile))
	if err != nil || in.check() != nil {
		return nil // there is none to take from
	}
	for _, e := range in.Files {
		// A link that can't be made means that the part is fetched again.
		_ = os.Link(filepath.Join(w.o.Output, e.Path), filepath.Join(w.partial, e.Path))
	}
	return nil
}

// sweep removes what other options had brought into the folder.
func (w *writer) sweep() error {
	listed := map[string]bool{IndexFile: true}
	for _, e := range w.index.Files {
		listed[e.Path] = true
	}
	others, err := unlisted(w.partial, listed)
	for _, o := range others {
		err = errors.Join(err, os.Remove(filepath.Join(w.partial, o)))
	}
	return err
}

// add puts a file of the folder into the index.
func (w *writer) add(ctx context.Context, role Role, name string) error {
	file := filepath.Join(w.partial, roles[role], name)
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	sum, err := digest(ctx, file)
	if err != nil {
		return err
	}
	w.index.Files = append(w.index.Files, entry{Path: filepath.ToSlash(filepath.Join(roles[role], name)), Role: role, Size: info.Size(), SHA256: sum})
	return nil
}

// discard removes the folder if nothing is in it yet, and says so.
func (w *writer) discard() bool {
	for _, folder := range roles {
		_ = os.Remove(filepath.Join(w.partial, folder)) // stays unless it is empty
	}
	_ = os.Remove(w.partial)
	_, err := os.Stat(w.partial)
	return errors.Is(err, fs.ErrNotExist)
}

// finish gives the folder its name.
func (w *writer) finish() error {
	if err := os.RemoveAll(w.old()); err != nil {
		return err
	}
	if err := os.Rename(w.o.Output, w.old()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(w.partial, w.o.Output); err != nil {
		return err
	}
	return os.RemoveAll(w.old())
}
