package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// root is where the node's root file system is mounted in the container.
const root = "/host/root"

// onNode becomes a program of the node's in this network namespace. So rules
// are made with the backend (nf_tables or legacy) that the node itself uses,
// under the node's lock.
func onNode(program string, args []string) error {
	if err := syscall.Chroot(root); err != nil {
		return fmt.Errorf("the node's root file system at %s: %w", root, err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("on the node: %w", err)
	}
	return syscall.Exec(path, append([]string{program}, args...), os.Environ())
}

// install copies a program into a folder, so that whoever runs it there finds
// the old one or the new one, whole.
func install(file, dir string) (err error) {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.CreateTemp(dir, "."+filepath.Base(file)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name()) // the error that counts is the first one
		}
	}()
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(0o755)
	}
	if e := out.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), filepath.Join(dir, filepath.Base(file)))
}
