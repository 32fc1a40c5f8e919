//go:build !wasip1

package labprobe

import (
	"io/fs"
	"os"
)

const (
	socketCall = "socket(2)"
	execCall   = "execve(2)"
)

// preopens: a native program is granted no directories, it asks for paths.
func preopens() []string { return nil }

func open(name string) (*os.File, error) { return os.Open(name) }

func escape() (ref string, err error) {
	ref = "open " + os.TempDir() + "/../…/etc/hostname"
	f, err := os.Open(os.TempDir() + "/" + climb + "etc/hostname")
	if err == nil {
		_ = f.Close() // was not read
	}
	return ref, err
}

// root is the tree of files that the program sees.
func root() fs.FS { return os.DirFS("/") }
