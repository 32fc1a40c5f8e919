package engine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"math"
)

// sayProgram is a Linux program of some 200 bytes that prints text and ends
// with exit code 0. The trial needs a program that runs in an empty image on
// any engine's machine, before anything was built or pulled; labctl's own
// binary is linked dynamically in some builds and is no Linux program on a Mac.
func sayProgram(arch, text string) ([]byte, error) {
	if len(text) > math.MaxInt16 {
		return nil, fmt.Errorf("text of %d bytes is too long", len(text))
	}
	var machine elf.Machine
	var code []byte
	switch arch {
	case "amd64":
		machine, code = elf.EM_X86_64, sayAMD64(len(text))
	case "arm64":
		machine, code = elf.EM_AARCH64, sayARM64(len(text))
	default:
		return nil, fmt.Errorf("labctl has no trial program for %s; known: amd64, arm64", arch)
	}
	const base, headers = 0x400000, 64 + 56 // sizes of Header64 and Prog64
	size := uint64(headers + len(code) + len(text))
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
	for _, part := range []any{header, segment, code, []byte(text)} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("trial program: %w", err)
		}
	}
	return b.Bytes(), nil
}

// sayAMD64 is write(1, text, n) and exit(0) for text right behind the code;
// the numbers are of arch/x86/entry/syscalls/syscall_64.tbl.
func sayAMD64(n int) []byte {
	code := []byte{
		0xb8, 1, 0, 0, 0, // mov eax, 1 (write)
		0xbf, 1, 0, 0, 0, // mov edi, 1 (stdout)
		0x48, 0x8d, 0x35, 16, 0, 0, 0, // lea rsi, [rip+16], the end of the code
		0xba, 0, 0, 0, 0, // mov edx, n
		0x0f, 0x05, // syscall
		0xb8, 60, 0, 0, 0, // mov eax, 60 (exit)
		0x31, 0xff, // xor edi, edi
		0x0f, 0x05, // syscall
	}
	binary.LittleEndian.PutUint32(code[18:], uint32(n))
	return code
}

// sayARM64 is the same with the numbers of include/uapi/asm-generic/unistd.h.
func sayARM64(n int) []byte {
	movz := func(register, value uint32) uint32 { return 0xd2800000 | value<<5 | register }
	const svc = 0xd4000001
	var code []byte
	for _, instruction := range []uint32{
		movz(8, 64),           // x8 = write
		movz(0, 1),            // x0 = stdout
		0x10000000 | 6<<5 | 1, // adr x1, .+24, the end of the code
		movz(2, uint32(n)),    // x2 = n
		svc,
		movz(8, 93), // x8 = exit
		movz(0, 0),
		svc,
	} {
		code = binary.LittleEndian.AppendUint32(code, instruction)
	}
	return code
}
