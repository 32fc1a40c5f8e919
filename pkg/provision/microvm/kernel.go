package microvm

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"

	"github.com/isolation-stack/labctl/pkg/process"
)

// wanted are the modules that guests need, by the kind of their devices:
// virtio's transports and devices, and the drivers of a PC's usual ones. A
// kernel that has one of them built in, or not at all, has no file for it.
var wanted = map[string][]string{
	"virtio":   {"virtio_mmio", "virtio_pci", "virtio_net", "virtio_blk", "virtio_rng", "virtio_balloon"},
	"emulated": {"ahci", "ata_piix", "sd_mod", "e1000"},
}

// unpackKernel takes the kernel and the wanted modules, with what they depend
// on, out of a Debian kernel package.
func unpackKernel(ctx context.Context, deb, dir string, log io.Writer) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := process.Run(ctx, process.Command{Argv: []string{"dpkg-deb", "--fsys-tarfile", deb}, Stdout: w, Stream: true, Log: log})
		w.CloseWithError(err)
		done <- err
	}()
	kernel, modules, err := readKernel(r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // the padding after the archive's end
	}
	// dpkg-deb must not wait for a reader that has gone.
	_ = r.CloseWithError(err)
	if runErr := <-done; runErr != nil && err == nil {
		err = runErr
	}
	if err != nil {
		return err
	}
	if kernel, err = bootable(kernel); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, kernelName), kernel, 0o644); err != nil {
		return err
	}
	for group, names := range wanted {
		if err := writeModules(filepath.Join(dir, modulesDir, group), modules, names); err != nil {
			return err
		}
	}
	return nil
}

// writeModules writes modules and what they depend on into a folder of their
// own; labprobe loads them in the order of their file names.
func writeModules(dir string, modules map[string]packed, names []string) error {
	ordered, err := closure(modules, names)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, m := range ordered {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d-%s.ko", i, m.name)), m.elf, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// readKernel reads the package's file system as a tar stream: the kernel, and
// every module by name, still compressed.
func readKernel(r io.Reader) (kernel []byte, modules map[string]packed, err error) {
	modules = map[string]packed{}
	files := tar.NewReader(r)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the kernel package: %w", err)
		}
		dir, base := path.Split(strings.TrimPrefix(h.Name, "./"))
		name, suffix, isModule := strings.Cut(base, ".ko")
		switch {
		case h.Typeflag != tar.TypeReg:
			continue
		case dir == "boot/" && strings.HasPrefix(base, "vmlinuz-"):
			kernel, err = io.ReadAll(files)
		case isModule && strings.Contains(dir, "lib/modules/"):
			var b []byte
			b, err = io.ReadAll(files)
			modules[moduleName(name)] = packed{data: b, suffix: suffix}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the kernel package: %s: %w", h.Name, err)
		}
	}
	if kernel == nil {
		return nil, nil, errors.New("the package holds no boot/vmlinuz-*")
	}
	return kernel, modules, nil
}

// moduleName: the kernel takes - and _ for the same.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// packed is a module as the package holds it; suffix is what follows .ko.
type packed struct {
	data   []byte
	suffix string
}

// module is one ready to be loaded.
type module struct {
	name string
	elf  []byte
}

// closure returns the modules by name and all that they depend on, each after
// what it depends on. Names that have no file are left out: they are built in
// or not for this kernel.
func closure(modules map[string]packed, names []string) ([]module, error) {
	var ordered []module
	var add func(name string, via []string) error
	add = func(name string, via []string) error {
		p, ok := modules[name]
		if !ok || slices.ContainsFunc(ordered, func(m module) bool { return m.name == name }) {
			return nil
		}
		if slices.Contains(via, name) {
			return fmt.Errorf("modules depend on each other in a circle: %s", strings.Join(append(via, name), " → "))
		}
		b, err := p.unpack()
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		depends, err := dependencies(b)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, d := range depends {
			if err := add(d, append(via, name)); err != nil {
				return err
			}
		}
		ordered = append(ordered, module{name, b})
		return nil
	}
	for _, name := range names {
		if err := add(name, nil); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// unpack decompresses: Debian compresses modules with xz since trixie.
func (p packed) unpack() ([]byte, error) {
	switch p.suffix {
	case "":
		return p.data, nil
	case ".xz":
		r, err := xz.NewReader(bytes.NewReader(p.data))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(r)
	}
	return nil, fmt.Errorf("compressed as %s, which labctl doesn't read", p.suffix)
}

// dependencies reads the line depends= of a module's .modinfo section:
// strings that end in NUL (kernel/module, modinfo(8)).
func dependencies(b []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("it has no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for line := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(line, "depends="); ok && list != "" {
			names := strings.Split(list, ",")
			for i := range names {
				names[i] = moduleName(names[i])
			}
			return names, nil
		}
	}
	return nil, nil
}
