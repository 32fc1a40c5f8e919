package installer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// maxScript is more than any install script has; what is longer is something
// else.
const maxScript = 4 << 20

// ErrUnpinned is an address without a digest.
var ErrUnpinned = errors.New("no SHA-256 is given for the installer")

// Fetch reads the install script, checks it, and stores it in storeDir as
// k3s-install-SHA256.sh. An address without a digest is ErrUnpinned: the
// script is stored to be read, and is not executable.
func Fetch(ctx context.Context, src Source, storeDir string, log progress.Log) (Script, error) {
	location := src.Location
	if location == "" {
		location = PublicAddress
	}
	step := log.Start("K3s's installer from " + location)
	script, err := fetch(ctx, src, location, storeDir)
	step.End(err)
	return script, err
}

func fetch(ctx context.Context, src Source, location, storeDir string) (Script, error) {
	want := strings.ToLower(strings.TrimSpace(src.SHA256))
	if _, err := hex.DecodeString(want); err != nil || (want != "" && len(want) != 2*sha256.Size) {
		return Script{}, fmt.Errorf("the installer's SHA-256 %q is not one: it has 64 hex digits; sha256sum prints it", src.SHA256)
	}
	remote := strings.HasPrefix(location, "https://") || strings.HasPrefix(location, "http://")
	text, err := read(ctx, src.Client, location, remote)
	if err != nil {
		return Script{}, fmt.Errorf("K3s's installer: %w", err)
	}
	if !bytes.HasPrefix(text, []byte("#!")) {
		return Script{}, fmt.Errorf("K3s's installer: what %s holds is no script (it doesn't begin with #!); give the installer with --installer FILE", location)
	}
	sum := sha256.Sum256(text)
	s := Script{SHA256: hex.EncodeToString(sum[:]), Text: text}
	if want != "" && s.SHA256 != want {
		return Script{}, fmt.Errorf("K3s's installer from %s has the SHA-256 %s, not %s: it is not the one that was meant; read it, and give its digest with --installer-sha256 if it is right", location, s.SHA256, want)
	}
	mode := os.FileMode(0o755)
	if remote && want == "" {
		mode = 0o644
	}
	if s.Path, err = store(storeDir, s, mode); err != nil {
		return Script{}, fmt.Errorf("store K3s's installer: %w", err)
	}
	if remote && want == "" {
		return Script{}, fmt.Errorf("%w, and an address can serve another script tomorrow. It was not run; read what %s serves now in %s, then run again with --installer-sha256 %s (or --installer %s)",
			ErrUnpinned, location, s.Path, s.SHA256, s.Path)
	}
	return s, nil
}

func read(ctx context.Context, client *http.Client, location string, remote bool) ([]byte, error) {
	if !remote {
		f, err := os.Open(location)
		if err != nil {
			return nil, fmt.Errorf("%w; give the script with --installer FILE, or the address of one", err)
		}
		defer func() { _ = f.Close() }() // only read
		return limited(f, location)
	}
	if client == nil {
		client = http.DefaultClient
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w; where there is no network, give the script with --installer FILE or everything with --airgap DIR", err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s; give the script with --installer FILE", location, response.Status)
	}
	return limited(response.Body, location)
}

func limited(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxScript+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxScript {
		return nil, fmt.Errorf("%s is longer than %d MiB, so it is no install script", name, maxScript>>20)
	}
	return b, nil
}

// store writes the script beside its place and renames it, so that a script
// of that name is always whole.
func store(dir string, s Script, mode os.FileMode) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	dst := filepath.Join(dir, "k3s-install-"+s.SHA256+".sh")
	return dst, writeFile(dst, mode, bytes.NewReader(s.Text), nil)
}

// partial is the ending of a file that is being written. The name is always
// the same, so that what a killed labctl leaves is overwritten by the next.
const partial = ".labctl-partial"

// writeFile makes a file of what r gives, which is on disk and has passed
// check (may be nil) before it has its name.
func writeFile(dst string, mode os.FileMode, r io.Reader, check func() error) (err error) {
	f, err := os.OpenFile(dst+partial, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = io.Copy(f, r)
	if err == nil && check != nil {
		err = check()
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), dst)
}
