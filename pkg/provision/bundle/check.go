package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// check says in what the file below dir isn't what it should be. A negative
// size isn't checked.
func (f File) check(ctx context.Context, dir string) error {
	info, err := plain(dir, f.Path)
	switch {
	case err != nil:
		return err
	case f.Size >= 0 && info.Size() != f.Size:
		return fmt.Errorf("it has %d bytes, not %d", info.Size(), f.Size)
	}
	got, err := digest(ctx, f.Path)
	if err != nil {
		return err
	}
	if got != strings.ToLower(f.SHA256) {
		return fmt.Errorf("its SHA-256 is %s, not %s", got, f.SHA256)
	}
	return nil
}

// plain is about a regular file to which no symbolic link leads: one could
// point out of the folder, and to another file once it was checked.
func plain(dir, file string) (fs.FileInfo, error) {
	rel, err := filepath.Rel(dir, file)
	if err != nil {
		return nil, err
	}
	var info fs.FileInfo
	at := dir
	for _, name := range strings.Split(rel, string(filepath.Separator)) {
		at = filepath.Join(at, name)
		info, err = os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, errors.New("it is missing")
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s is a symbolic link", at)
		}
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	return info, nil
}

// digest is a file's SHA-256 in hex.
func digest(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return "", fmt.Errorf("read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
