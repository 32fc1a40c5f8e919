// Package bundle is the folder from which a box without a network becomes a
// K3s node: installer, K3s, its images, packages and programs of the runtimes,
// and bundle.yaml, which lists every file with its role, size and checksum.
package bundle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Role says what a file of a bundle is for.
type Role string

// The roles.
const (
	K3s       Role = "k3s"       // the K3s binary
	Installer Role = "installer" // K3s's install script
	Images    Role = "images"    // an archive for K3s's folder of images
	Package   Role = "package"   // a Debian package of the runtimes or what they depend on
	Program   Role = "program"   // a program that no package has, such as gVisor's shim
)

// roles with the folder of each in a bundle.
var roles = map[Role]string{K3s: "", Installer: "", Images: "images", Package: "packages", Program: "programs"}

// IndexFile is the name of the index in a bundle.
const IndexFile = "bundle.yaml"

const (
	apiVersion = "labctl.dev/v1alpha1"
	kind       = "Bundle"
)

// index is bundle.yaml.
type index struct {
	APIVersion   string  `json:"apiVersion"`
	Kind         string  `json:"kind"`
	Architecture string  `json:"architecture"`         // GOARCH
	K3sVersion   string  `json:"k3sVersion,omitempty"` // "" if it isn't known
	Suite        string  `json:"suite"`                // of the Debian packages
	Files        []entry `json:"files"`
}

// entry is a file in the index.
type entry struct {
	Path   string `json:"path"` // below the bundle, with slashes
	Role   Role   `json:"role"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256"`
}

// File is a file of a bundle or of a folder with checksums, which was checked.
type File struct {
	Name   string // without folder
	Path   string // absolute
	SHA256 string // hex
	Size   int64  // bytes
}

// Bundle is a bundle whose files were all checked.
type Bundle struct {
	// Dir is the absolute path of the folder.
	Dir string
	// Architecture is the GOARCH that it is for.
	Architecture string
	// K3sVersion is the K3s release in it; "" if its maker didn't know.
	K3sVersion string
	// Suite is the Debian release that the packages are of.
	Suite string
	files map[Role][]File
}

// Files are the files of a role in the order of the index.
func (b *Bundle) Files(role Role) []File { return slices.Clone(b.files[role]) }

// File is the one file of a role; an error if the bundle has none or several.
func (b *Bundle) File(role Role) (File, error) {
	if n := len(b.files[role]); n != 1 {
		return File{}, fmt.Errorf("the bundle %s has %d files of the role %s, not one; make it anew with `labctl bundle k3s`", b.Dir, n, role)
	}
	return b.files[role][0], nil
}

// Open reads a bundle for this machine's architecture and checks every file:
// path, size, checksum, and that there is no other. The error names each file
// that isn't as it should be.
func Open(ctx context.Context, dir string) (*Bundle, error) {
	b, err := open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("bundle %s: %w", dir, err)
	}
	if b.Architecture != runtime.GOARCH {
		return nil, fmt.Errorf("bundle %s is for %s, and this machine is %s; make another with `labctl bundle k3s --arch %s`", dir, b.Architecture, runtime.GOARCH, runtime.GOARCH)
	}
	return b, nil
}

func open(ctx context.Context, dir string) (*Bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	in, err := readIndex(filepath.Join(dir, IndexFile))
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	b := &Bundle{Dir: dir, Architecture: in.Architecture, K3sVersion: in.K3sVersion, Suite: in.Suite, files: map[Role][]File{}}
	listed := map[string]bool{IndexFile: true}
	errs := []error{}
	for _, e := range in.Files {
		listed[e.Path] = true
		f := File{Name: path.Base(e.Path), Path: filepath.Join(dir, filepath.FromSlash(e.Path)), SHA256: e.SHA256, Size: e.Size}
		if err := f.check(ctx, dir); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			errs = append(errs, fmt.Errorf("%s: %w", e.Path, err))
		}
		b.files[e.Role] = append(b.files[e.Role], f)
	}
	others, err := unlisted(dir, listed)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		errs = append(errs, fmt.Errorf("%s: it isn't in %s", o, IndexFile))
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%d of %d files are not as %s says; copy the bundle again or make it anew:\n%w", len(errs), len(in.Files)+len(others), IndexFile, errors.Join(errs...))
	}
	return b, nil
}

// maxIndex is more than an index of thousands of files has, in bytes.
const maxIndex = 8 << 20

func readIndex(file string) (index, error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return index{}, fmt.Errorf("no %s: it is no bundle; `labctl bundle k3s --output DIR` makes one", IndexFile)
	case err != nil:
		return index{}, err
	case !info.Mode().IsRegular() || info.Size() > maxIndex:
		return index{}, fmt.Errorf("%s is no file of a reasonable size", IndexFile)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return index{}, err
	}
	var in index
	if err := yaml.UnmarshalStrict(text, &in); err != nil {
		return index{}, fmt.Errorf("%s: %w", IndexFile, err)
	}
	return in, nil
}

// check refuses an index that isn't one of this version, or that points
// anywhere but to files of its own.
func (in index) check() error {
	if in.APIVersion != apiVersion || in.Kind != kind {
		return fmt.Errorf("%s is %q of %q; this labctl reads %s of %s", IndexFile, in.Kind, in.APIVersion, kind, apiVersion)
	}
	var errs []error
	seen := map[string]bool{IndexFile: true}
	for _, e := range in.Files {
		switch _, known := roles[e.Role]; {
		case !known:
			errs = append(errs, fmt.Errorf("%s: %q is no role of this version of labctl", e.Path, e.Role))
		case !filepath.IsLocal(e.Path) || path.Clean(e.Path) != e.Path || strings.Contains(e.Path, `\`):
			errs = append(errs, fmt.Errorf("%q is no plain path below the bundle", e.Path))
		case seen[e.Path]:
			errs = append(errs, fmt.Errorf("%s: it is listed twice", e.Path))
		}
		seen[e.Path] = true
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s can't be used:\n%w", IndexFile, err)
	}
	return nil
}

// unlisted are the paths below dir of everything but folders and what is
// listed.
func unlisted(dir string, listed map[string]bool) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err == nil && !listed[filepath.ToSlash(rel)] {
			out = append(out, rel)
		}
		return err
	})
	return out, err
}
