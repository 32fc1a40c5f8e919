package labprobe

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func runBPFVerify(ctx context.Context, args []string) (evidence.Set, error) {
	outputs, err := bpfVerifyOutputs(args)
	if err != nil {
		return nil, err
	}
	if err := memlock(); err != nil {
		return nil, bpfError("memory for eBPF", err)
	}
	// Not an array: kernels since 6.15 know that its lookup can't miss.
	values, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, bpfError("an eBPF map", err)
	}
	defer func() { _ = values.Close() }()
	r := newRecord(outputs)
	for _, p := range verifiedPrograms {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		errno, log, err := verdictOf(p.build(values.FD()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.doc, err)
		}
		r.put(p.name+".loads", errno == "", "syscall", "bpf(BPF_PROG_LOAD, SOCKET_FILTER)")
		r.put(p.name+".errno", errno, "syscall", "bpf(BPF_PROG_LOAD, SOCKET_FILTER)")
		r.put(p.name+".log", log, "syscall", "log of bpf(BPF_PROG_LOAD)")
	}
	return r.result()
}

// verdictOf loads a program, and names the error and the verifier's reason.
func verdictOf(instructions asm.Instructions) (errno, log string, err error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, Instructions: instructions, License: license})
	if err == nil {
		return "", "", program.Close()
	}
	var number syscall.Errno
	if !errors.As(err, &number) {
		return "", "", fmt.Errorf("load a program: %w", err)
	}
	var verifier *ebpf.VerifierError
	if !errors.As(err, &verifier) {
		return "", "", bpfError("load a program", err)
	}
	return symbol(number), reason(verifier.Log), nil
}

// element leaves the address of the map's one value, or 0, in R0.
func element(mapFD int) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.R10, -4, 0, asm.Word), // the key on the stack
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, mapFD),
		asm.FnMapLookupElem.Call(),
	}
}

// readElement reads 8 bytes at an offset of the value, which has 8; checked
// says that 0 is ruled out before.
func readElement(offset int16, checked bool) func(int) asm.Instructions {
	return func(mapFD int) asm.Instructions {
		program := element(mapFD)
		if checked {
			program = append(program, asm.JEq.Imm(asm.R0, 0, "end"))
		}
		return append(program,
			asm.LoadMem(asm.R0, asm.R0, offset, asm.DWord),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("end"),
			asm.Return(),
		)
	}
}

// loop counts to a limit, or forever.
func loop(endless bool) func(int) asm.Instructions {
	step := int32(1)
	if endless {
		step = 0
	}
	return func(int) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.Add.Imm(asm.R0, step).WithSymbol("again"),
			asm.JLT.Imm(asm.R0, 10, "again"),
			asm.Return(),
		}
	}
}

// verifiedPrograms in the order of verifiedKinds.
var verifiedPrograms = func() []verifiedProgram {
	build := map[string]func(int) asm.Instructions{
		"within": readElement(0, true), "beyond": readElement(8, true), "unchecked": readElement(0, false),
		"bounded": loop(false), "endless": loop(true),
	}
	var programs []verifiedProgram
	for _, k := range verifiedKinds {
		programs = append(programs, verifiedProgram{k, build[k.name]})
	}
	return programs
}()

type verifiedProgram struct {
	verifiedKind
	build func(mapFD int) asm.Instructions
}
