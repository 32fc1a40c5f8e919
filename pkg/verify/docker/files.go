package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func checkFiles(files []string) error {
	for i, f := range files {
		if !fs.ValidPath(f) {
			return fmt.Errorf("files[%d]: %q is no path below the manifests folder", i, f)
		}
		if slices.Contains(files[:i], f) {
			return fmt.Errorf("files[%d]: %s comes twice", i, f)
		}
	}
	return nil
}

// pack makes a tar archive of the files; the same files give the same bytes.
func pack(manifests fs.FS, files []string) ([]byte, error) {
	if manifests == nil {
		return nil, errors.New("files: the run has no manifests")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		content, err := fs.ReadFile(manifests, f)
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		err = w.WriteHeader(&tar.Header{Name: f, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			return nil, fmt.Errorf("files: %s: %w", f, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return b.Bytes(), nil
}

// unpackScript unpacks stdin into $1, whole or not at all.
const unpackScript = `set -eu
[ -d "$1" ] && exit
mkdir -p "${1%/*}"
t=$(mktemp -d "$1.XXXXXX")
trap 'rm -rf "$t"' EXIT
tar --extract --directory "$t"
chmod 0755 "$t"
mv -T "$t" "$1" 2>/dev/null || [ -d "$1" ]`

// unpack puts the archive's files into a folder of the place that is named by
// their content, and returns the folder.
func unpack(ctx context.Context, place probe.Place, archive []byte) (string, error) {
	sum := sha256.Sum256(archive)
	folder := "/var/lib/labctl/files/" + hex.EncodeToString(sum[:])[:16]
	exit, err := place.Run(ctx, bytes.NewReader(archive), "sh", "-c", unpackScript, "sh", folder)
	if err != nil {
		return "", fmt.Errorf("put files on %s: %w", place.Name(), err)
	}
	if exit.Code != 0 {
		return "", fmt.Errorf("put files on %s: exit code %d: %s", place.Name(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return folder, nil
}

var _ probe.Applying = (*Probe)(nil)

// Manifests implements probe.Applying.
func (d *Probe) Manifests() []string { return d.params.Files }

// Check implements probe.Applying: the files are there.
func (d *Probe) Check(manifests fs.FS) error {
	_, err := pack(manifests, d.params.Files)
	return err
}
