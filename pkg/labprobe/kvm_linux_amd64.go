package labprobe

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl requests on the machine and its processor, exit reasons and sizes of
// structures: linux/kvm.h and asm/kvm.h for x86-64.
const (
	kvmCreateVM            = 0xae01
	kvmGetVCPUMmapSize     = 0xae04
	kvmCreateVCPU          = 0xae41
	kvmSetUserMemoryRegion = 0x4020ae46
	kvmSetTSSAddress       = 0xae47
	kvmRunVCPU             = 0xae80
	kvmSetRegs             = 0x4090ae82
	kvmGetSregs            = 0x8138ae83
	kvmSetSregs            = 0x4138ae84

	kvmExitIO   = 2
	kvmExitHLT  = 5
	kvmSregsLen = 0x138
)

// Where things lie in the guest's physical memory.
const (
	guestCode   = 0x1000
	guestResult = 0x1100
	guestPort   = 0x42
	// tssAddress is three pages that Intel processors without unrestricted
	// guest mode need for real mode (api.rst, KVM_SET_TSS_ADDR).
	tssAddress = 0xfffbd000
)

// guestProgram multiplies 6 by 7 in 16-bit real mode, leaves the product in
// memory and at a port, and halts.
var guestProgram = []byte{
	0xb0, 6, // mov al, 6
	0xb3, 7, // mov bl, 7
	0xf6, 0xe3, // mul bl
	0xa2, guestResult & 0xff, guestResult >> 8, // mov [guestResult], al
	0xe6, guestPort, // out guestPort, al
	0xf4, // hlt
}

// kvmRegs is struct kvm_regs.
type kvmRegs struct {
	RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP, R8, R9, R10, R11, R12, R13, R14, R15, RIP, RFLAGS uint64
}

// kvmMemoryRegion is struct kvm_userspace_memory_region.
type kvmMemoryRegion struct {
	Slot, Flags                     uint32
	GuestAddress, Size, UserAddress uint64
}

// kvmMachine runs the guest program and prints a kvmRun after each stage.
func kvmMachine(out io.Writer) {
	run := kvmRun{Stage: "start", Reason: -1, Port: -1, Memory: -1}
	start := time.Now()
	say := func(stage string) {
		run.Stage, run.Time = stage, time.Since(start)
		_ = json.NewEncoder(out).Encode(run) // a broken pipe means that nobody listens
	}
	say("start")
	if err := kvmGuest(&run, say); err != nil {
		run.Outcome, run.Detail = kvmFailed, err.Error()
		say(run.Stage)
		return
	}
	run.Outcome = kvmHalted
	say("done")
}

// kvmGuest goes through the stages. Nothing is released: the process ends.
func kvmGuest(run *kvmRun, say func(string)) error {
	kvm, err := unix.Open(kvmDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", kvmDevice, err)
	}
	vm, err := ioctl(kvm, kvmCreateVM, 0)
	if err != nil {
		return fmt.Errorf("KVM_CREATE_VM: %w", err)
	}
	say("vm")
	// AMD processors don't need it and may refuse it.
	_, _ = ioctl(int(vm), kvmSetTSSAddress, tssAddress)
	memory, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("guest memory: %w", err)
	}
	copy(memory, guestProgram)
	region := kvmMemoryRegion{GuestAddress: guestCode, Size: uint64(len(memory)), UserAddress: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if err := ioctlPointer(vm, kvmSetUserMemoryRegion, unsafe.Pointer(&region)); err != nil {
		return fmt.Errorf("KVM_SET_USER_MEMORY_REGION: %w", err)
	}
	say("memory")
	vcpu, state, err := kvmProcessor(kvm, vm)
	if err != nil {
		return err
	}
	say("vcpu")
	return kvmLoop(run, say, vcpu, state, memory)
}

// kvmProcessor makes a virtual processor that is about to run guestCode in
// real mode, and maps its struct kvm_run.
func kvmProcessor(kvm int, vm int64) (vcpu int64, state []byte, err error) {
	vcpu, err = ioctl(int(vm), kvmCreateVCPU, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("KVM_CREATE_VCPU: %w", err)
	}
	size, err := ioctl(kvm, kvmGetVCPUMmapSize, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("KVM_GET_VCPU_MMAP_SIZE: %w", err)
	}
	state, err = unix.Mmap(int(vcpu), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, nil, fmt.Errorf("map struct kvm_run: %w", err)
	}
	var sregs [kvmSregsLen]byte
	if err := ioctlPointer(vcpu, kvmGetSregs, unsafe.Pointer(&sregs)); err != nil {
		return 0, nil, fmt.Errorf("KVM_GET_SREGS: %w", err)
	}
	// The code segment comes first in struct kvm_sregs: base (8 bytes), limit
	// (4), selector (2). It points to the reset vector; 0 makes rip absolute.
	binary.LittleEndian.PutUint64(sregs[0:], 0)
	binary.LittleEndian.PutUint16(sregs[12:], 0)
	if err := ioctlPointer(vcpu, kvmSetSregs, unsafe.Pointer(&sregs)); err != nil {
		return 0, nil, fmt.Errorf("KVM_SET_SREGS: %w", err)
	}
	// Bit 1 of the flags is always 1.
	regs := kvmRegs{RIP: guestCode, RFLAGS: 1 << 1}
	if err := ioctlPointer(vcpu, kvmSetRegs, unsafe.Pointer(&regs)); err != nil {
		return 0, nil, fmt.Errorf("KVM_SET_REGS: %w", err)
	}
	return vcpu, state, nil
}

// kvmLoop runs the processor until it halts.
func kvmLoop(run *kvmRun, say func(string), vcpu int64, state, memory []byte) error {
	for {
		say("run")
		_, err := ioctl(int(vcpu), kvmRunVCPU, 0)
		if errors.Is(err, unix.EINTR) {
			continue // a signal for this process, the guest goes on
		}
		if err != nil {
			return fmt.Errorf("KVM_RUN: %w", err)
		}
		// struct kvm_run: exit_reason at 8, the reason's own data from 32 on;
		// for KVM_EXIT_IO: direction (1 byte; 1 is out), size (1), port (2),
		// count (4), offset of the data (8).
		run.Reason = int64(binary.LittleEndian.Uint32(state[8:]))
		run.Memory = int64(memory[guestResult-guestCode])
		switch run.Reason {
		case kvmExitIO:
			offset := binary.LittleEndian.Uint64(state[40:])
			if port := binary.LittleEndian.Uint16(state[34:]); port != guestPort || state[32] != 1 || offset >= uint64(len(state)) {
				return fmt.Errorf("the guest touched port %#x, which it has no instruction for", port)
			}
			run.Port = int64(state[offset])
		case kvmExitHLT:
			if run.Port != 6*7 || run.Memory != 6*7 {
				return fmt.Errorf("the guest halted with %d at the port and %d in memory, want 42", run.Port, run.Memory)
			}
			return nil
		default:
			return fmt.Errorf("KVM_RUN ended with exit reason %d, data % x", run.Reason, state[32:48])
		}
	}
}

// ioctlPointer keeps the conversion to uintptr in the call's own expression,
// as the rules of unsafe.Pointer demand.
func ioctlPointer(fd int64, request uintptr, p unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(p))
	if errno != 0 {
		return errno
	}
	return nil
}
