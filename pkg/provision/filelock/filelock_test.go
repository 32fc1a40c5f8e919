package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTryLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = TryLock(path)
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("second lock: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, ErrHeld) || !errors.Is(err, context.Canceled) {
		t.Errorf("waiting without time: %v", err)
	}
	// The holder removes the file: a new lock is another file's.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	unlock()
	unlock, err = TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	unlock, err = Lock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := TryLock(filepath.Join(path, "below-a-file")); err == nil || errors.Is(err, ErrHeld) {
		t.Errorf("no folder: %v", err)
	}
}
