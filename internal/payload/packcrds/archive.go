package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// entry is one definition as JSON.
type entry struct {
	name    string // MODULE@VERSION/NAME.json
	content []byte
}

// stamp is the first entry of an archive: the digest of what it was made from.
const stamp = "digest"

// madeFrom reads the stamp of an archive.
func madeFrom(archive string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(f)
	if err != nil {
		return "", err
	}
	defer z.Close()
	r := tar.NewReader(z)
	h, err := r.Next()
	if err != nil {
		return "", err
	}
	if h.Name != stamp {
		return "", fmt.Errorf("%s begins with %s", archive, h.Name)
	}
	digest, err := io.ReadAll(r)
	return string(digest), err
}

// write writes an archive, beside and renamed. One definition in two modules
// is an error.
func write(archive, digest string, entries []entry) error {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	from := map[string]string{}
	for _, e := range entries {
		if other, ok := from[path.Base(e.name)]; ok {
			return fmt.Errorf("%s and %s are one definition: take it from one module", other, e.name)
		}
		from[path.Base(e.name)] = e.name
	}
	var b bytes.Buffer
	// One thread, so that the bytes don't depend on timing.
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, e := range append([]entry{{stamp, []byte(digest)}}, entries...) {
		if err := w.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content))}); err != nil {
			return err
		}
		if _, err := w.Write(e.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return renameio.WriteFile(archive, b.Bytes(), 0o644)
}
