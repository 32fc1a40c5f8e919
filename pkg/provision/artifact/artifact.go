// Package artifact is a cache of slow things by content: a folder per
// artifact, named by the hash of everything that went into it. A build writes
// beside and is renamed into place when it is whole, so an interrupted one
// leaves nothing that could be taken for the artifact.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// Cache is a folder of artifacts.
type Cache struct{ Dir string }

// Default is labctl's folder in the user's cache folder
// (os.UserCacheDir: XDG_CACHE_HOME, else ~/.cache).
func Default() (Cache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return Cache{}, fmt.Errorf("no cache folder: %w; set XDG_CACHE_HOME or HOME", err)
	}
	return Cache{Dir: filepath.Join(dir, "labctl")}, nil
}

// Key identifies an artifact.
type Key struct {
	// Name is for people: the first part of the folder's name.
	Name string
	// Inputs is everything that decides the content: versions, sources, flags.
	Inputs []string
}

// ID is the folder's name: NAME-HASH, the first 16 hex digits of the SHA-256
// of the inputs.
func (k Key) ID() string {
	h := sha256.New()
	for _, in := range k.Inputs {
		fmt.Fprintf(h, "%d:%s\n", len(in), in)
	}
	return k.Name + "-" + hex.EncodeToString(h.Sum(nil))[:16]
}

// ManifestName is the file in an artifact that lists its others.
const ManifestName = ".labctl-artifact.json"

// manifest lists an artifact's files, so that a damaged one is noticed.
type manifest struct {
	Inputs []string         `json:"inputs"`
	Sizes  map[string]int64 `json:"sizes"` // bytes by relative path
}

// Path is where the artifact is or would be.
func (c Cache) Path(k Key) string { return filepath.Join(c.Dir, "artifacts", k.ID()) }

// Has says whether the artifact is there and whole.
func (c Cache) Has(k Key) bool {
	_, ok := c.Size(k)
	return ok
}

// Size is the sum of the artifact's files in bytes; false if it isn't there
// and whole.
func (c Cache) Size(k Key) (bytes int64, ok bool) {
	m, err := verify(c.Path(k))
	for _, n := range m.Sizes {
		bytes += n
	}
	return bytes, err == nil
}

// Ensure returns the artifact's folder and builds it first if it isn't there
// or is damaged. build gets an empty folder to fill. Two processes that want
// the same artifact build it once: the second waits for the first.
func (c Cache) Ensure(ctx context.Context, k Key, build func(ctx context.Context, dir string) error) (string, error) {
	dst := c.Path(k)
	if c.Has(k) {
		return dst, nil
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", explain(c.Dir, err)
	}
	unlock, err := filelock.Lock(ctx, dst+".lock")
	if err != nil {
		return "", explain(c.Dir, err)
	}
	defer unlock()
	if c.Has(k) {
		return dst, nil
	}
	// The lock is held: whatever lies there is a damaged artifact or the rest
	// of a build that was killed.
	tmp := dst + ".partial"
	for _, stale := range []string{dst, tmp} {
		if err := os.RemoveAll(stale); err != nil {
			return "", explain(c.Dir, err)
		}
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", explain(c.Dir, err)
	}
	err = build(ctx, tmp)
	if err == nil {
		err = seal(tmp, k)
	}
	if err == nil {
		err = os.Rename(tmp, dst)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w", k.Name, explain(c.Dir, err)), os.RemoveAll(tmp))
	}
	return dst, nil
}

func seal(dir string, k Key) error {
	m := manifest{Inputs: k.Inputs, Sizes: map[string]int64{}}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		m.Sizes[rel] = info.Size()
		return err
	})
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, ManifestName), b, 0o644)
}

func verify(dir string) (manifest, error) {
	var m manifest
	b, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, err
	}
	for rel, size := range m.Sizes {
		info, err := os.Stat(filepath.Join(dir, rel))
		if err != nil {
			return m, err
		}
		if info.Size() != size {
			return m, fmt.Errorf("%s has %d bytes, not %d", rel, info.Size(), size)
		}
	}
	return m, nil
}

// explain says what to do about the errors that a cache folder can give.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), syscall.ENOSPC.Error()):
		return fmt.Errorf("%w; free some space below %s, or set XDG_CACHE_HOME to a folder on a larger disk (a node image needs about 8 GB while it is built)", err, dir)
	case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; make %s writable, or set XDG_CACHE_HOME to a folder that is", err, dir)
	}
	return err
}
