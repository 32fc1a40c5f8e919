package bundle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SumsFile is the name of the checksums in a folder of programs.
const SumsFile = "SHA256SUMS"

// ReadSums reads a folder of programs with SHA256SUMS, as sha256sum(1) prints
// it, and checks every file: each that is listed is there and as it should
// be, and there is no other. The error names each file that isn't.
func ReadSums(ctx context.Context, dir string) ([]File, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, SumsFile))
	if err != nil {
		return nil, fmt.Errorf("programs in %s: %w; `sha256sum * > %s` makes it, but take the checksums from where the programs come from", dir, err, SumsFile)
	}
	sums, err := parseSums(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, SumsFile), err)
	}
	var files []File
	var errs []error
	listed := map[string]bool{SumsFile: true}
	for _, s := range sums {
		f := File{Name: filepath.Base(s.name), Path: filepath.Join(dir, s.name), SHA256: s.sha256, Size: -1}
		listed[s.name] = true
		if err := f.check(ctx, dir); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			continue
		}
		info, err := os.Lstat(f.Path)
		if err != nil {
			return nil, err
		}
		f.Size = info.Size()
		files = append(files, f)
	}
	others, err := unlisted(dir, listed)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		errs = append(errs, fmt.Errorf("%s: it has no line in %s", o, SumsFile))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("programs in %s are not as %s says:\n%w", dir, SumsFile, err)
	}
	return files, nil
}

// sum is a line of sha256sum's.
type sum struct{ sha256, name string }

// parseSums reads what sha256sum(1) prints: DIGEST, a space, a space or *,
// and the name. Names below ./ are taken as such; a name that leads elsewhere,
// is escaped, or is there twice is an error.
func parseSums(text string) ([]sum, error) {
	var out []sum
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		digest, name, found := strings.Cut(line, " ")
		name = strings.TrimPrefix(name, "*")
		name = strings.TrimPrefix(name, " ")
		digest = strings.ToLower(digest)
		if _, err := hex.DecodeString(digest); err != nil || len(digest) != 2*sha256.Size || !found || name == "" {
			return nil, fmt.Errorf("line %d is not DIGEST  NAME as sha256sum prints it: %q", n, line)
		}
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("line %d: %q is no path below the folder", n, name)
		}
		if name = filepath.Clean(name); seen[name] {
			return nil, fmt.Errorf("line %d: %s is listed twice", n, name)
		}
		seen[name] = true
		out = append(out, sum{digest, name})
	}
	if len(out) == 0 {
		return nil, errors.New("it lists no file")
	}
	return out, nil
}
