package debian

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
)

// Deb is a package file as the signed index has it.
type Deb struct {
	Name   string // of the file
	Size   int64  // bytes
	SHA256 string // hex
}

// Closure fetches the named packages and everything that they depend on,
// without recommendations, into dir, as for a machine that has no package at
// all. Files that dir has are not fetched again. apt has checked each against
// the signed index.
func (a *Apt) Closure(ctx context.Context, dir string, packages ...string) ([]Deb, error) {
	var debs []Deb
	err := a.locked(ctx, func(ctx context.Context) error {
		install := append([]string{"install", "--no-install-recommends"}, packages...)
		// Only what isn't in the folder of archives is listed: an empty one.
		r, err := a.run(ctx, "", append([]string{"apt-get", "-qq", "--print-uris",
			"-o", "Dir::Cache::Archives=" + filepath.Join(a.dir, "none"), "-o", "Acquire::ForceHash=SHA256"}, install...)...)
		if err != nil {
			return err
		}
		if debs, err = parseDebs(string(r.Stdout)); err != nil {
			return err
		}
		// apt keeps a lock and unfinished files beside what it fetches.
		partial := filepath.Join(dir, "partial")
		if err := os.MkdirAll(partial, 0o755); err != nil {
			return err
		}
		_, err = a.run(ctx, "", append([]string{"apt-get", "-q", "--yes", "--download-only", "-o", "Dir::Cache::Archives=" + dir}, install...)...)
		if err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(partial), os.Remove(filepath.Join(dir, "lock")))
	})
	return debs, err
}

// deb is a line of `apt-get --print-uris install`: 'URI' FILE SIZE HASH.
var deb = regexp.MustCompile(`(?m)^'[^']+' (\S+\.deb) (\d+) (\S+)$`)

var sha256Hash = regexp.MustCompile(`^SHA256:([0-9a-f]{64})$`)

func parseDebs(printed string) ([]Deb, error) {
	var out []Deb
	for _, m := range deb.FindAllStringSubmatch(printed, -1) {
		hash := sha256Hash.FindStringSubmatch(m[3])
		size, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil || hash == nil || filepath.Base(m[1]) != m[1] {
			return nil, fmt.Errorf("the index gives no usable SHA-256 of %s: %q", m[1], m[0])
		}
		out = append(out, Deb{Name: m[1], Size: size, SHA256: hash[1]})
	}
	if len(out) == 0 {
		return nil, errors.New("the index lists no package file")
	}
	return out, nil
}
