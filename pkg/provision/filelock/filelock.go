// Package filelock keeps two labctl processes apart. The locks are flock(2),
// which the kernel releases when a process ends, however it ends.
package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrHeld is a lock that another process holds.
var ErrHeld = errors.New("held by another process")

// TryLock takes the lock or returns an error that is ErrHeld and names the
// process that has it. The file stays there after unlock; the holder may
// remove it.
func TryLock(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil {
			holder, _ := os.ReadFile(path) // only for the message
			_ = f.Close()                  // nothing was written
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, fmt.Errorf("%s: %w (%s)", path, ErrHeld, strings.TrimSpace(string(holder)))
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if same(f, path) {
			_ = f.Truncate(0)
			_, _ = fmt.Fprintf(f, "pid %d\n", os.Getpid()) // only for messages
			return func() { _ = f.Close() }, nil           // closing releases the lock
		}
		_ = f.Close() // the holder removed the file meanwhile: take the new one
	}
}

// same says that path still is the open file.
func same(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// Lock waits for the lock until ctx ends.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		unlock, err := TryLock(path)
		if !errors.Is(err, ErrHeld) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w; %w", err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
