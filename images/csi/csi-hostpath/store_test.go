package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestSnapshotIsACopy(t *testing.T) {
	s, err := open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	volume, snapshot, restored := s.volume(identity("v")), s.snapshot(identity("s")), s.volume(identity("r"))
	if err := s.create(snapshot, volume); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a snapshot of a volume that isn't there: %v", err)
	}
	if err := s.create(volume, ""); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(volume, "file")
	write(t, file, "before")
	if err := s.create(snapshot, volume); err != nil {
		t.Fatal(err)
	}
	write(t, file, "after")
	if err := s.create(snapshot, volume); err != nil { // asked for again: the same one
		t.Fatal(err)
	}
	if err := s.create(restored, snapshot); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(restored, "file")); err != nil || string(b) != "before" {
		t.Errorf("restored %q %v", b, err)
	}
	for _, path := range []string{snapshot, snapshot, volume} {
		if err := s.remove(path); err != nil {
			t.Error(err)
		}
	}
	if err := s.remove(s.dir); err == nil {
		t.Error("the store itself can be removed")
	}
	if got := s.volume("../../etc"); filepath.Dir(got) != filepath.Join(s.dir, "volumes") {
		t.Errorf("an id leads to %s", got)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
