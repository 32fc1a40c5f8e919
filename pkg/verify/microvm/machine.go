package microvm

import (
	"context"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/hypervisor"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// argv is QEMU's command line for the machine.
func (s spec) argv(ctx context.Context, vm probe.MicroVM, accel string) ([]string, error) {
	tsc := int64(0)
	if accel == accelTCG {
		var err error
		if tsc, err = hypervisor.TSCFrequency(ctx); err != nil {
			return nil, err
		}
	}
	cmdline, err := s.kernelCommandLine(tsc)
	if err != nil {
		return nil, err
	}
	return s.qemu(vm, accel, cmdline), nil
}

// kernelCommandLine is the guest kernel's (Documentation/admin-guide/kernel-parameters.txt).
// tscKHz is how fast the guest's time stamp counter runs, 0 if it learns that
// from its hypervisor. Under TCG it would have to measure it against the
// emulated timer, which fails when the host is busy, and a microvm has no
// other clock to fall back on.
func (s spec) kernelCommandLine(tscKHz int64) (string, error) {
	order, err := labprobe.GuestOrder{Args: s.args, Disks: 1, Modules: s.devices}.KernelArguments()
	if err != nil {
		return "", err
	}
	words := []string{
		"console=ttyS0", "quiet",
		"panic=-1", "reboot=t", // both end the machine: QEMU runs with -no-reboot
		"nokaslr", // with little memory, a random place is often one too small
	}
	if s.machine == machineMicroVM {
		words = append(words, "pci=off")
	}
	if tscKHz > 0 {
		words = append(words, fmt.Sprintf("tsc_early_khz=%d", tscKHz), "tsc=reliable")
	}
	// rdinit comes last: words before it that the kernel doesn't know are
	// forgotten, words after it become arguments of the first process.
	words = append(words, order, "rdinit=/init", "--", "init")
	return strings.Join(words, " "), nil
}

// tcgCPU: TCG's CMPXCHG16B leaves nonsense in the flags when an interrupt comes
// right after it (seen with QEMU 7.2), of which the guest's kernel dies now and
// then; without that feature the kernel does without the instruction.
const tcgCPU = "max,-cx16"

// accelerator is QEMU's argument. Several CPUs of TCG take turns in one thread:
// with a thread each (QEMU's default for x86), one runs what the other one is
// just patching, of which the guest's kernel died once when the host was busy
// (seen with QEMU 7.2, in a function with a static key).
func (s spec) accelerator(accel string) string {
	if accel == accelTCG && s.cpus > 1 {
		return accelTCG + ",thread=single"
	}
	return accel
}

// qemu is the command line for a kernel command line. The network device hangs
// on a hub with nothing else, the disk gives zeros: neither needs anything of
// the host.
func (s spec) qemu(vm probe.MicroVM, accel, cmdline string) []string {
	argv := []string{
		vm.QEMU,
		"-machine", map[string]string{machineMicroVM: "microvm,auto-kernel-cmdline=off", machineQ35: "q35"}[s.machine],
		"-accel", s.accelerator(accel),
		"-cpu", map[string]string{accelKVM: "host", accelTCG: tcgCPU}[accel],
		"-smp", fmt.Sprint(s.cpus),
		"-m", fmt.Sprintf("%dK", s.memory>>10),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", vm.Kernel, "-initrd", vm.Initramfs, "-append", cmdline,
		"-netdev", "hubport,id=net,hubid=0",
		"-blockdev", "driver=null-co,node-name=disk,size=16777216,read-zeroes=on",
	}
	for _, d := range s.deviceList() {
		argv = append(argv, "-device", d)
	}
	return argv
}

func (s spec) deviceList() []string {
	switch {
	case s.devices == devicesEmulated:
		return []string{"e1000,netdev=net,romfile=", "ide-hd,drive=disk", "VGA,romfile="}
	case s.machine == machineQ35:
		return []string{"virtio-net-pci,netdev=net,romfile=", "virtio-blk-pci,drive=disk", "virtio-rng-pci", "virtio-balloon-pci"}
	}
	return []string{"virtio-net-device,netdev=net", "virtio-blk-device,drive=disk", "virtio-rng-device", "virtio-balloon-device"}
}
