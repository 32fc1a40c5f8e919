package labprobe

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// errnoName gives the symbolic name of the system's error (ENOENT), "" for
// nil, and the error's text where it isn't one of the system's.
func errnoName(err error) string {
	if err == nil {
		return ""
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "timeout"
		case errors.Is(err, fs.ErrClosed):
			return "closed"
		}
		return err.Error()
	}
	return symbol(errno)
}
