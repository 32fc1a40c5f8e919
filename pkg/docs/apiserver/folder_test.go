package apiserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

func TestNewFolder(t *testing.T) {
	parent := t.TempDir()
	folder := func(name string, files ...string) string {
		dir := filepath.Join(parent, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	killed := folder(prefix+"killed", ownerFile, "etcd.log")
	half := folder(prefix + "killed-before-its-lock")
	swept := folder(prefix+"killed-while-sweeping.removed", "etcd.log")
	other := folder("something-else", ownerFile)
	living := folder(prefix + "living")
	unlock, err := filelock.TryLock(filepath.Join(living, ownerFile))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	link := filepath.Join(parent, prefix+"link")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}

	dir, remove, err := newFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{killed: false, half: false, swept: false, other: true, living: true, link: true, dir: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", filepath.Base(path), err, want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v %v, want one that keeps others out", info.Mode(), err)
	}
	// A second labctl leaves the first one's alone.
	second, removeSecond, err := newFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err != nil || second == dir {
		t.Errorf("%s %s: %v", dir, second, err)
	}
	for _, f := range []func() error{remove, remove, removeSecond} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dir, err)
	}
}

func TestNewFolderWithoutParent(t *testing.T) {
	if _, _, err := newFolder(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder in one that isn't there")
	}
}

func TestSweepTakesNamesLiterally(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "a[b]*?\\c")
	leftover := filepath.Join(parent, prefix+"x")
	if err := os.MkdirAll(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sweep(parent); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
