package main

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errNoArchive is a program without parts behind it: the unpacked one.
var errNoArchive = errors.New("no archive behind this program")

// openArchive opens the parts that are appended to this very file; archive/zip
// looks for the directory at the end and doesn't mind what goes before.
func openArchive() (*zip.ReadCloser, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, err := zip.OpenReader(exe)
	if errors.Is(err, zip.ErrFormat) {
		return nil, errNoArchive
	}
	return r, err
}

// storedVersion is what the archive's comment says, or, in the unpacked
// program, the file that unpack wrote from it.
func storedVersion() (v version, err error) {
	r, err := openArchive()
	switch {
	case err == nil:
		defer func() { _ = r.Close() }() // only read
		b, err := fs.ReadFile(r, partsFile)
		if err == nil {
			err = json.Unmarshal(b, &v)
		}
		return v, errors.Join(err, json.Unmarshal([]byte(r.Comment), &v))
	case !errors.Is(err, errNoArchive):
		return v, err
	}
	exe, err := os.Executable()
	if err != nil {
		return v, err
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(exe)), versionFile))
	if err != nil {
		return v, fmt.Errorf("%w: %w", errNoArchive, err)
	}
	return v, json.Unmarshal(b, &v)
}

// Files beside the folder bin: what the program knows of itself, written when
// it is unpacked, and the versions of the parts, which are in the archive.
const (
	versionFile = "version.json"
	partsFile   = "parts.json"
)

// unpack writes the parts to DATADIR/data/HASH at their first use, as K3s
// does, and returns that folder. The link data/current names the newest.
func unpack(dataDir string) (string, error) {
	r, err := openArchive()
	if errors.Is(err, errNoArchive) {
		exe, err := os.Executable()
		return filepath.Dir(filepath.Dir(exe)), err
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }() // only read
	v, err := storedVersion()
	if err != nil {
		return "", err
	}
	data := filepath.Join(dataDir, "data")
	dir := filepath.Join(data, v.Hash)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return "", fmt.Errorf("extracting data: %w", err)
	}
	unlock, err := lock(filepath.Join(data, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	logf("info", "Preparing data dir %s", dir)
	tmp := dir + "-tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	err = extract(&r.Reader, tmp)
	if err == nil {
		err = writeVersion(tmp, v)
	}
	if err == nil {
		err = os.Rename(tmp, dir)
	}
	if err == nil {
		err = link(data, dir)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("extracting data: %w", err), os.RemoveAll(tmp))
	}
	return dir, nil
}

func writeVersion(dir string, v version) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, versionFile), b, 0o644)
}

// link sets data/current and data/previous, and data/cni, where newer K3s have
// the CNI plug-ins under a name that outlives an upgrade.
func link(data, dir string) error {
	current, previous := filepath.Join(data, "current"), filepath.Join(data, "previous")
	if err := os.Rename(current, previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(dir, current); err != nil {
		return err
	}
	cni := filepath.Join(data, "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	for _, plugin := range []string{"bridge", "host-local", "loopback", "portmap", "ptp"} {
		l := filepath.Join(cni, plugin)
		if err := os.Remove(l); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(filepath.Join(current, "bin", plugin), l); err != nil {
			return err
		}
	}
	return nil
}

func extract(r *zip.Reader, dir string) error {
	for _, f := range r.File {
		if !filepath.IsLocal(f.Name) {
			return fmt.Errorf("the archive's %s lies outside of its folder", f.Name)
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := extractFile(f, path); err != nil {
			return err
		}
	}
	return nil
}

func extractFile(f *zip.File, path string) (err error) {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // the checksum was compared at the end of the reading
	if f.Mode()&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		return os.Symlink(string(target), path)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	logf("info", "Acquiring lock file %s", path)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // which gives the lock back
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, content, mode); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Chmod(tmp, mode); err != nil { // whatever the umask is
		return err
	}
	return os.Rename(tmp, path)
}
