package apiserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// prefix is how the servers' folders are called.
const prefix = "labctl-apiserver-"

// ownerFile is locked by the labctl that owns a folder, as long as it lives.
const ownerFile = "owner.lock"

// newFolder makes a folder in parent that this process owns until remove, and
// removes those whose owners are gone. No other user can read it.
func newFolder(parent string) (dir string, remove func() error, err error) {
	if err := sweep(parent); err != nil {
		return "", nil, err
	}
	for {
		dir, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return "", nil, fmt.Errorf("a folder for the API server: %w; set TMPDIR to a folder that is writable", err)
		}
		unlock, err := filelock.TryLock(filepath.Join(dir, ownerFile))
		// Another labctl that sweeps at this moment takes the new folder for
		// one without an owner.
		if errors.Is(err, filelock.ErrHeld) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(dir))
		}
		return dir, func() error {
			defer unlock()
			return os.RemoveAll(dir)
		}, nil
	}
}

// sweep removes the folders of this user's labctls that were killed. Their
// servers have died with them.
func sweep(parent string) error {
	dirs, err := filepath.Glob(filepath.Join(escape(parent), prefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if !ours(dir) {
			continue
		}
		unlock, err := filelock.TryLock(filepath.Join(dir, ownerFile))
		if err != nil {
			continue // it has an owner, or is gone
		}
		// By another name first: an owner that comes at this moment then finds
		// the folder either locked or gone, never half removed.
		gone := dir + ".removed"
		if os.Rename(dir, gone) == nil {
			dir = gone
		}
		err = os.RemoveAll(dir)
		unlock()
		if err != nil {
			return fmt.Errorf("the folder of an earlier API server: %w", err)
		}
	}
	return nil
}

// escape makes a path that filepath.Glob takes literally.
func escape(path string) string {
	var out []rune
	for _, r := range path {
		switch r {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// ours says that path is a folder, not a link to one, of this user.
func ours(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid()
}
