package microvm

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cavaliergopher/cpio"
	"github.com/ulikunitz/xz"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// kernelModule is the least ELF file that has a .modinfo section.
func kernelModule(t *testing.T, info string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const header, sectionHeader = 64, 64
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	infoAt := uint64(header)
	namesAt := infoAt + uint64(len(info))
	sectionsAt := namesAt + uint64(len(names))
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), sectionsAt, uint32(0), uint16(header), uint16(0), uint16(0), uint16(sectionHeader), uint16(3), uint16(2))
	b.WriteString(info + names)
	b.Write(make([]byte, sectionHeader))
	put(uint32(1), uint32(1), uint64(0), uint64(0), infoAt, uint64(len(info)), uint32(0), uint32(0), uint64(1), uint64(0))
	put(uint32(10), uint32(3), uint64(0), uint64(0), namesAt, uint64(len(names)), uint32(0), uint32(0), uint64(1), uint64(0))
	return b.Bytes()
}

func compressed(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xz.NewWriter(&out)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestClosure(t *testing.T) {
	module := func(info string) packed { return packed{data: compressed(t, kernelModule(t, info)), suffix: ".xz"} }
	cases := []struct {
		name    string
		modules map[string]packed
		want    []string
		err     string
	}{
		{
			"each after what it depends on, once",
			map[string]packed{
				"virtio_net": module("license=GPL\x00depends=net-failover,virtio_ring\x00name=virtio_net\x00"), "net_failover": module("depends=failover\x00"),
				"failover": {data: kernelModule(t, "depends=\x00")}, "virtio_mmio": module("name=virtio_mmio\x00"), "unrelated": module("depends=\x00"), "virtio_blk": module("depends=failover\x00"),
			},
			[]string{"virtio_mmio", "failover", "net_failover", "virtio_net", "virtio_blk"}, "",
		},
		{"a circle", map[string]packed{"virtio_net": module("depends=a\x00"), "a": module("depends=virtio_net\x00")}, nil, "in a circle: virtio_net → a → virtio_net"},
		{"another compression", map[string]packed{"virtio_net": {suffix: ".lz9"}}, nil, "module virtio_net: compressed as .lz9"},
		{"damaged", map[string]packed{"virtio_net": {data: []byte("rubbish")}}, nil, "module virtio_net"},
		{"all built in", map[string]packed{}, nil, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := closure(c.modules, wanted["virtio"])
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got error %v, want %q", err, c.err)
			}
			var names []string
			for _, m := range got {
				names = append(names, m.name)
			}
			if !slices.Equal(names, c.want) {
				t.Errorf("got %q, want %q", names, c.want)
			}
		})
	}
}

func TestReadKernel(t *testing.T) {
	pack := func(files map[string]string) io.Reader {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, text := range files {
			if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return &b
	}
	kernel, modules, err := readKernel(pack(map[string]string{
		"./boot/vmlinuz-6.12": "kernel", "./boot/config-6.12": "config",
		"./usr/lib/modules/6.12/kernel/drivers/char/hw_random/virtio-rng.ko.xz": "rng", "./usr/share/doc/x.ko": "no",
	}))
	if err != nil || string(kernel) != "kernel" || len(modules) != 1 || modules["virtio_rng"].suffix != ".xz" {
		t.Errorf("got %q, %v, %v", kernel, modules, err)
	}
	if _, _, err := readKernel(pack(map[string]string{"./usr/share/doc/README": "x"})); err == nil || !strings.Contains(err.Error(), "no boot/vmlinuz") {
		t.Errorf("got %v for a package without a kernel", err)
	}
	if _, _, err := readKernel(strings.NewReader(strings.Repeat("rubbish", 200))); err == nil {
		t.Error("rubbish was read as a package")
	}
}

// bzImage packs a kernel as its build does.
func bzImage(t *testing.T, kernel []byte) []byte {
	t.Helper()
	payload := binary.LittleEndian.AppendUint32(compressed(t, kernel), uint32(len(kernel)))
	image := make([]byte, 2*512+64)
	image[0x1f1] = 1
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint32(image[0x248:], 64)
	binary.LittleEndian.PutUint32(image[0x24c:], uint32(len(payload)))
	return append(image, payload...)
}

// elfKernel is an ELF program with nothing but one note.
func elfKernel(t *testing.T, owner string, kind uint32) []byte {
	t.Helper()
	note := binary.LittleEndian.AppendUint32(nil, uint32(len(owner)))
	note = binary.LittleEndian.AppendUint32(note, 8)
	note = binary.LittleEndian.AppendUint32(note, kind)
	note = append(append(note, owner...), make([]byte, 8)...)
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	for _, v := range []any{
		uint16(2), uint16(62), uint32(1), uint64(0), uint64(64), uint64(0), uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(4), uint32(4), uint64(120), uint64(0), uint64(0), uint64(len(note)), uint64(len(note)), uint64(4),
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return append(b.Bytes(), note...)
}

func TestBootable(t *testing.T) {
	pvh := elfKernel(t, "Xen\x00", 18)
	for name, kernel := range map[string][]byte{"another note": elfKernel(t, "Xen\x00", 1), "another owner": elfKernel(t, "GNU\x00", 18), "no ELF": []byte("rubbish")} {
		image := bzImage(t, kernel)
		if got, err := bootable(image); err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: got %d bytes, %v; want the image as it is", name, len(got), err)
		}
	}
	if got, err := bootable(bzImage(t, pvh)); err != nil || !bytes.Equal(got, pvh) {
		t.Errorf("got %d bytes, %v; want the ELF program", len(got), err)
	}
	image := bzImage(t, pvh)
	unknown := slices.Clone(image)
	copy(unknown[2*512+64:], "LZ99")
	if got, err := bootable(unknown); err != nil || !bytes.Equal(got, unknown) {
		t.Errorf("an unknown compression: got %d bytes, %v; want the image as it is", len(got), err)
	}
	for name, damaged := range map[string][]byte{"cut": image[:len(image)-20], "no header": image[512:], "empty": nil, "damaged": append(slices.Clone(image[:len(image)-40]), make([]byte, 40)...)} {
		if got, err := bootable(damaged); err == nil {
			t.Errorf("%s: got %d bytes and no error", name, len(got))
		}
	}
}

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	modules := fstest.MapFS{"virtio/00-a.ko": {Data: []byte("module")}}
	out := filepath.Join(dir, "initramfs")
	if err := writeInitramfs(out, []byte("\x7fELF…"), modules); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var got []string
	for r := cpio.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+h.Mode.String()+" "+string(b))
	}
	want := []string{"init 0100755 \x7fELF…", "modules 040755 ", "modules/virtio 040755 ", "modules/virtio/00-a.ko 0100644 module"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := writeInitramfs(out, []byte("#!/bin/sh"), modules); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v for a first process that is no program", err)
	}
}

// fakeApt gives a package that isn't one.
type fakeApt struct{ depends []string }

func (f fakeApt) Depends(context.Context, string) ([]string, error) { return f.depends, nil }

func (f fakeApt) Download(_ context.Context, dir string, _ ...string) ([]string, error) {
	file := filepath.Join(dir, "kernel.deb")
	return []string{file}, os.WriteFile(file, []byte("no package"), 0o644)
}

func TestPrepareFails(t *testing.T) {
	// A QEMU that is only looked for.
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, QEMU), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	cases := []struct {
		name string
		apt  func(context.Context) (Apt, error)
		want string
	}{
		{"no mirror", func(context.Context) (Apt, error) { return nil, errors.New("no mirror serves trixie") }, "no mirror serves trixie"},
		{"two kernels", func(context.Context) (Apt, error) { return fakeApt{[]string{"a", "b"}}, nil }, `depends on ["a" "b"]`},
		{"a damaged package", func(context.Context) (Apt, error) { return fakeApt{[]string{"linux-image-6"}}, nil }, "package linux-image-6"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cache := artifact.Cache{Dir: t.TempDir()}
			_, err := Prepare(t.Context(), Options{Cache: cache, Suite: "trixie", Apt: c.apt, Labprobe: []byte("\x7fELF"), Log: progress.Discard})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			left, _ := filepath.Glob(filepath.Join(cache.Dir, "artifacts", "*", "*"))
			if len(left) > 0 {
				t.Errorf("it left %q", left)
			}
		})
	}
}

// TestPrepareWithoutQEMU: a machine without QEMU is no failure; the probes say
// what is missing.
func TestPrepareWithoutQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	vm, err := Prepare(t.Context(), Options{Log: progress.Discard})
	if err != nil || vm == nil || vm.QEMU != "" {
		t.Errorf("got %+v, %v", vm, err)
	}
}
