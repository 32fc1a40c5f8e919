package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// done ends the name of the file that says that a folder is complete: a copy
// that was interrupted is made again.
const done = ".done"

// store is the folder with the volumes and snapshots.
type store struct {
	dir string
	mu  sync.Mutex
}

func open(dir string) (*store, error) {
	for _, sub := range []string{"volumes", "snapshots"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return &store{dir: dir}, nil
}

// identity is made from a name, so that what is asked for twice is one.
func identity(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:32]
}

// volume and snapshot are paths; an id is never one itself.
func (s *store) volume(id string) string {
	return filepath.Join(s.dir, "volumes", filepath.Base("/"+id))
}

func (s *store) snapshot(id string) string {
	return filepath.Join(s.dir, "snapshots", filepath.Base("/"+id))
}

// create makes a folder, empty or as a copy. It is no error if it is there.
func (s *store) create(path, from string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(path + done); err == nil {
		return nil
	}
	if from != "" {
		if _, err := os.Stat(from + done); err != nil {
			return fmt.Errorf("the source: %w", err)
		}
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	var err error
	if from != "" {
		err = copyTree(from, path)
	} else if err = os.Mkdir(path, 0o777); err == nil {
		err = os.Chmod(path, 0o777) // whatever user the Pod runs as
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(path))
	}
	return os.WriteFile(path+done, nil, 0o644)
}

// remove is no error if there is nothing.
func (s *store) remove(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if filepath.Dir(path) != filepath.Join(s.dir, "volumes") && filepath.Dir(path) != filepath.Join(s.dir, "snapshots") {
		return fmt.Errorf("%s is neither a volume nor a snapshot", path)
	}
	if err := os.Remove(path + done); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(path)
}

// copyTree copies folders, files and symbolic links with mode and owner.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: p, Err: err}
		}
		switch {
		case d.IsDir():
			err = os.Mkdir(dst, 0o700)
		case d.Type()&fs.ModeSymlink != 0:
			var target string
			if target, err = os.Readlink(p); err == nil {
				err = os.Symlink(target, dst)
			}
		case d.Type().IsRegular():
			err = copyFile(p, dst)
		default:
			return nil // sockets and pipes hold nothing
		}
		if err != nil {
			return err
		}
		if err := os.Lchown(dst, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			return nil
		}
		// os.Chmod would lose the set-id and sticky bits of st.
		return unix.Chmod(dst, st.Mode&0o7777)
	})
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
