package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Root is the folder on a node that holds what labctl put there.
const Root = "/opt/labctl"

// ModuleSuffix after the path of labprobe gives the path of the same program
// as a WebAssembly module.
const ModuleSuffix = ".wasm"

// Equip returns the place with labprobe in it: before the first command that
// is run there, the binary and the WebAssembly module are put under Root, in
// a folder named by their content, unless they are there already. A failure
// is returned by that Run, and the next one tries again.
func Equip(place probe.Place, binary, module []byte) probe.Place {
	sum := sha256.New()
	sum.Write(binary)
	sum.Write(module)
	dir := path.Join(Root, hex.EncodeToString(sum.Sum(nil))[:16])
	e := &equipped{Place: place, path: path.Join(dir, "labprobe")}
	e.files = []file{{e.path, binary}, {e.path + ModuleSuffix, module}}
	return e
}

type equipped struct {
	probe.Place
	path  string
	files []file

	mu   sync.Mutex
	done bool
}

type file struct {
	path    string
	content []byte
}

func (e *equipped) Labprobe() string { return e.path }

func (e *equipped) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	if err := e.ensure(ctx); err != nil {
		return probe.Exit{}, err
	}
	return e.Place.Run(ctx, stdin, argv...)
}

func (e *equipped) ensure(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done {
		return nil
	}
	have, err := present(ctx, e.Place, e.files)
	if err != nil {
		return err
	}
	for _, f := range e.files {
		if have {
			break
		}
		if err := put(ctx, e.Place, f); err != nil {
			return err
		}
	}
	e.done = true
	return nil
}

func (f file) digest() string {
	sum := sha256.Sum256(f.content)
	return hex.EncodeToString(sum[:])
}

// present says whether the place has all the files, whole.
func present(ctx context.Context, place probe.Place, files []file) (bool, error) {
	var list strings.Builder
	for _, f := range files {
		fmt.Fprintf(&list, "%s  %s\n", f.digest(), f.path)
	}
	exit, err := place.Run(ctx, strings.NewReader(list.String()), "sha256sum", "-c", "--status")
	if err != nil {
		return false, fmt.Errorf("look for labprobe on %s: %w", place.Name(), err)
	}
	return exit.Code == 0, nil
}

// putScript writes stdin to $1 whole or not at all: into a name of its own,
// checked against the digest $2, then renamed.
const putScript = `set -eu
mkdir -p "${1%/*}"
t=$(mktemp "$1.XXXXXX")
trap 'rm -f "$t"' EXIT
cat >"$t"
echo "$2  $t" | sha256sum -c --status || { echo "the copy is damaged" >&2; exit 1; }
chmod 0755 "$t"
mv -f "$t" "$1"`

func put(ctx context.Context, place probe.Place, f file) error {
	exit, err := place.Run(ctx, bytes.NewReader(f.content), "sh", "-c", putScript, "sh", f.path, f.digest())
	if err != nil {
		return fmt.Errorf("put %s on %s: %w", f.path, place.Name(), err)
	}
	if exit.Code != 0 {
		return fmt.Errorf("put %s on %s: exit code %d: %s", f.path, place.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return nil
}
