package microvm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/cavaliergopher/cpio"

	"github.com/isolation-stack/labctl/pkg/labprobe"
)

// writeInitramfs writes the archive that the kernel unpacks as its first
// root: /init and the modules (Documentation/filesystems/ramfs-rootfs-initramfs.rst).
// It isn't compressed: the kernel would take longer to unpack it than the
// host takes to read it.
func writeInitramfs(file string, init []byte, modules fs.FS) (err error) {
	if !bytes.HasPrefix(init, []byte("\x7fELF")) {
		return errors.New("labprobe is no ELF program; build labctl with make build")
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return packInitramfs(f, init, modules)
}

func packInitramfs(out io.Writer, init []byte, modules fs.FS) error {
	w := cpio.NewWriter(out)
	put := func(name string, mode cpio.FileMode, data []byte) error {
		if err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Size: int64(len(data)), Links: 1}); err != nil {
			return fmt.Errorf("initramfs: %s: %w", name, err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("initramfs: %s: %w", name, err)
		}
		return nil
	}
	if err := put("init", cpio.TypeReg|0o755, init); err != nil {
		return err
	}
	err := fs.WalkDir(modules, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := path.Join(labprobe.GuestModules, name)
		if d.IsDir() {
			return put(inside, cpio.TypeDir|0o755, nil)
		}
		b, err := fs.ReadFile(modules, name)
		if err != nil {
			return err
		}
		return put(inside, cpio.TypeReg|0o644, b)
	})
	if err != nil {
		return err
	}
	return w.Close()
}
