package microvm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// bootable returns what QEMU boots fastest of a kernel in the bzImage format:
// the ELF program inside it, if that can be entered directly (PVH boot
// protocol), else the image as it is. A guest under TCG would take a second to
// decompress what the host decompresses in a tenth, and needs memory for both.
func bootable(image []byte) ([]byte, error) {
	payload, err := bzImagePayload(image)
	if err != nil {
		return nil, err
	}
	open := decompressor(payload)
	if open == nil {
		return image, nil
	}
	// The build appends the size of the uncompressed kernel (scripts/Makefile.lib,
	// size_append), which decompressors would take for a damaged stream.
	size := binary.LittleEndian.Uint32(payload[len(payload)-4:])
	if size == 0 || size > vmlinuxMax {
		return nil, fmt.Errorf("the kernel claims to have %d bytes uncompressed", size)
	}
	r, err := open(bytes.NewReader(payload))
	if err != nil {
		return nil, fmt.Errorf("decompress the kernel: %w", err)
	}
	program := make([]byte, size)
	if _, err := io.ReadFull(r, program); err != nil {
		return nil, fmt.Errorf("decompress the kernel: %w", err)
	}
	if !hasPVHEntry(program) {
		return image, nil
	}
	return program, nil
}

// vmlinuxMax is far above any distributor's kernel.
const vmlinuxMax = 512 << 20

// bzImagePayload finds the compressed kernel: Documentation/arch/x86/boot.rst,
// fields setup_sects, header, payload_offset and payload_length.
func bzImagePayload(image []byte) ([]byte, error) {
	const setupSects, magic, payloadOffset, payloadLength, sector = 0x1f1, 0x202, 0x248, 0x24c, 512
	if len(image) < 0x260 || string(image[magic:magic+4]) != "HdrS" {
		return nil, errors.New("the kernel is no bzImage")
	}
	setup := int(image[setupSects])
	if setup == 0 {
		setup = 4
	}
	start := uint64(setup+1)*sector + uint64(binary.LittleEndian.Uint32(image[payloadOffset:]))
	length := uint64(binary.LittleEndian.Uint32(image[payloadLength:]))
	if length < 8 || start+length > uint64(len(image)) {
		return nil, fmt.Errorf("the kernel's payload (%d bytes at %d) lies outside the image of %d bytes", length, start, len(image))
	}
	return image[start : start+length], nil
}

// decompressor tells the format by its first bytes; nil for one that isn't known.
func decompressor(payload []byte) func(io.Reader) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return func(r io.Reader) (io.Reader, error) {
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
			if err != nil {
				return nil, err
			}
			return d.IOReadCloser(), nil
		}
	case bytes.HasPrefix(payload, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		return func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	}
	return nil
}

// hasPVHEntry looks for the note that says where a PVH loader enters:
// XEN_ELFNOTE_PHYS32_ENTRY, 18, of the owner Xen (Xen's elfnote.h).
func hasPVHEntry(program []byte) bool {
	const entry = 18
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return false
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_NOTE || p.Filesz > 1<<20 {
			continue
		}
		notes, err := io.ReadAll(p.Open())
		if err != nil {
			return false
		}
		// Each note: size of the name, size of the content, type, name,
		// content, both padded to 4 bytes.
		for len(notes) >= 12 {
			name := uint64(binary.LittleEndian.Uint32(notes))
			content := uint64(binary.LittleEndian.Uint32(notes[4:]))
			kind := binary.LittleEndian.Uint32(notes[8:])
			next := 12 + (name+3)&^3 + (content+3)&^3
			if next > uint64(len(notes)) {
				break
			}
			if kind == entry && string(notes[12:12+name]) == "Xen\x00" {
				return true
			}
			notes = notes[next:]
		}
	}
	return false
}
