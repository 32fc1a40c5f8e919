// Package payload is what labctl needs at run time and can't take from its
// own Go source: labprobe for the places where it runs, the sources of the
// images, and the CRDs of upstream projects. `make payload` makes the files;
// they are not tracked.
package payload

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed all:files
var embedded embed.FS

// files has the payload at its root; tests put another one in its place.
var files fs.FS = func() fs.FS {
	sub, err := fs.Sub(embedded, "files")
	if err != nil {
		panic(err) // the path is a constant and valid
	}
	return sub
}()

// ErrMissing is a labctl that was built by plain `go build` or `go install`.
var ErrMissing = errors.New("this labctl was built without its payload; build it with make build")

func read(name string) ([]byte, error) {
	b, err := fs.ReadFile(files, name)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(b) == 0) {
		return nil, fmt.Errorf("%s: %w", name, ErrMissing)
	}
	return b, err
}

// Labprobe is the probe program for linux, static.
func Labprobe() ([]byte, error) { return read("labprobe") }

// LabprobeWasm is the probe program for WASI preview 1.
func LabprobeWasm() ([]byte, error) { return read("labprobe.wasm") }

// Images is a tar archive of the Go modules below images/ that the node image
// is made of, and of the static files of kind's node image in the folder kind/.
func Images() ([]byte, error) { return read("images.tar") }

// Addons is a tar archive of the other Go modules below images/, those of
// add-ons.
func Addons() ([]byte, error) { return read("addons.tar") }

// CRDs is the archive of CustomResourceDefinitions that packcrds writes: a tar
// in a Zstandard frame with entries MODULE@VERSION/NAME.json.
func CRDs() ([]byte, error) { return read("crds.tar.zst") }
