package engine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// exitProgram is a Linux program of some 130 bytes that does nothing but end
// with an exit code. The trial needs a program that runs in an empty image on
// any engine's machine, before anything was built or pulled; labctl's own
// binary is linked dynamically in some builds and is no Linux program on a Mac.
func exitProgram(arch string, exitCode uint8) ([]byte, error) {
	var machine elf.Machine
	var code []byte
	switch arch {
	case "amd64": // numbers of arch/x86/entry/syscalls/syscall_64.tbl
		machine, code = elf.EM_X86_64, []byte{
			0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
			0xbf, exitCode, 0, 0, 0, // mov edi, exitCode
			0x0f, 0x05, // syscall
		}
	case "arm64": // numbers of include/uapi/asm-generic/unistd.h
		movz := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
		machine = elf.EM_AARCH64
		for _, instruction := range []uint32{
			movz(8, 93), // x8 = exit
			movz(0, uint32(exitCode)),
			0xd4000001, // svc #0
		} {
			code = binary.LittleEndian.AppendUint32(code, instruction)
		}
	default:
		return nil, fmt.Errorf("labctl has no trial program for %s; known: amd64, arm64", arch)
	}
	const base, headers = 0x400000, 64 + 56 // sizes of Header64 and Prog64
	size := uint64(headers + len(code))
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS64)
	header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2LSB)
	header.Ident[elf.EI_VERSION] = byte(elf.EV_CURRENT)
	// 64 KiB is the largest page of arm64, so it aligns everywhere.
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x10000,
	}
	var b bytes.Buffer
	for _, part := range []any{header, segment, code} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("trial program: %w", err)
		}
	}
	return b.Bytes(), nil
}
