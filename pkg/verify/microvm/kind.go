// Package microvm runs labprobe as the first process of a virtual machine
// that QEMU boots: Debian's own cloud kernel, an initramfs, no firmware to
// speak of, no network.
package microvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// where is what evidence sources say.
const where = "microvm"

// Kind is the family. What it learns of this machine's KVM is kept for as
// long as the Kind is.
func Kind() probe.Kind {
	k := &kvm{run: runKVM}
	return probe.Kind{
		Name: "microvm",
		Doc:  "labprobe as the first process of a virtual machine that QEMU boots",
		New: func(params []byte) (probe.Probe, error) {
			s, err := decode(params)
			if err != nil {
				return nil, err
			}
			return &vmProbe{spec: s, kvm: k}, nil
		},
	}
}

// params are the family's parameters as labs write them.
type params struct {
	// Labprobe is the command line, without the program's name.
	Labprobe []string `json:"labprobe"`
	// Memory of the machine, a quantity; 128Mi if absent. Debian's cloud
	// kernel needs about 96Mi.
	Memory string `json:"memory"`
	// Accel is kvm, tcg, or auto: KVM where it works. auto if absent.
	Accel string `json:"accel"`
	// Machine is microvm (virtio-mmio, no PCI) or q35 (a PC). microvm if absent.
	Machine string `json:"machine"`
	// Devices are virtio, or emulated: an e1000, a SATA disk and a VGA card,
	// which only a q35 has room for. virtio if absent.
	Devices string `json:"devices"`
	// CPUs is the number of virtual processors, 1 if absent.
	CPUs int `json:"cpus"`
	// Timeout limits the machine's life, 2m if absent.
	Timeout string `json:"timeout"`
}

// spec is params, checked.
type spec struct {
	args           []string
	outputs        []evidence.Output
	memory         int64 // bytes
	accel, machine string
	devices        string
	cpus           int
	timeout        time.Duration
}

const (
	accelAuto, accelKVM, accelTCG  = "auto", "kvm", "tcg"
	machineMicroVM, machineQ35     = "microvm", "q35"
	devicesVirtio, devicesEmulated = "virtio", "emulated"
	memoryMin, memoryMax           = 32 << 20, 8 << 30
	cpusMax                        = 8
	timeoutDefault, timeoutMax     = 2 * time.Minute, 30 * time.Minute
	memoryDefault                  = "128Mi"
)

func decode(b []byte) (spec, error) {
	p := params{Memory: memoryDefault, Accel: accelAuto, Machine: machineMicroVM, Devices: devicesVirtio, CPUs: 1, Timeout: timeoutDefault.String()}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil && !errors.Is(err, io.EOF) {
		return spec{}, fmt.Errorf("parameters of a microvm probe: %w", err)
	}
	s := spec{args: p.Labprobe, accel: p.Accel, machine: p.Machine, devices: p.Devices, cpus: p.CPUs}
	if len(p.Labprobe) == 0 {
		return spec{}, errors.New("labprobe: want a command, such as [hardware]")
	}
	c, err := labprobe.Lookup(p.Labprobe[0])
	if err != nil {
		return spec{}, err
	}
	if s.outputs, err = c.Outputs(p.Labprobe[1:]); err != nil {
		return spec{}, fmt.Errorf("labprobe %s: %w", p.Labprobe[0], err)
	}
	for _, choice := range []struct {
		field, value string
		allowed      []string
	}{
		{"accel", p.Accel, []string{accelAuto, accelKVM, accelTCG}},
		{"machine", p.Machine, []string{machineMicroVM, machineQ35}},
		{"devices", p.Devices, []string{devicesVirtio, devicesEmulated}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return spec{}, fmt.Errorf("%s: %q, want one of %q", choice.field, choice.value, choice.allowed)
		}
	}
	if p.Machine == machineMicroVM && p.Devices == devicesEmulated {
		return spec{}, errors.New("devices: a microvm has no PCI bus for emulated devices; take machine: q35")
	}
	q, err := resource.ParseQuantity(p.Memory)
	if err != nil {
		return spec{}, fmt.Errorf("memory: %q: %w", p.Memory, err)
	}
	if s.memory = q.Value(); s.memory < memoryMin || s.memory > memoryMax {
		return spec{}, fmt.Errorf("memory: %s, want 32Mi to 8Gi", p.Memory)
	}
	if p.CPUs < 1 || p.CPUs > cpusMax {
		return spec{}, fmt.Errorf("cpus: %d, want 1 to %d", p.CPUs, cpusMax)
	}
	if s.timeout, err = time.ParseDuration(p.Timeout); err != nil || s.timeout <= 0 || s.timeout > timeoutMax {
		return spec{}, fmt.Errorf("timeout: %q, want a duration up to %s", p.Timeout, timeoutMax)
	}
	return s, nil
}

var vmOutputs = []evidence.Output{
	{Name: "vm.accelerator", Type: evidence.String, Doc: "what executed the guest's instructions: kvm or tcg (QEMU's translator)"},
	{Name: "vm.accelerator_reason", Type: evidence.String, Doc: "why it wasn't KVM; empty if it was, or if the lab asked for tcg"},
	{Name: "vm.machine", Type: evidence.String, Doc: "machine type: microvm or q35"},
	{Name: "vm.devices", Type: evidence.String, Doc: "virtio or emulated"},
	{Name: "vm.memory", Type: evidence.Quantity, Unit: "bytes", Doc: "memory of the machine"},
	{Name: "vm.cpus", Type: evidence.Int, Unit: "count", Doc: "virtual processors"},
	{Name: "vm.boot_time", Type: evidence.Duration, Doc: "from starting QEMU to the first line of the guest's user space, the host's clock"},
	{Name: "vm.kernel_time", Type: evidence.Duration, Doc: "from the kernel's start to its first process, the guest's clock"},
	{Name: "vm.rss", Type: evidence.Quantity, Unit: "bytes", Doc: "QEMU's resident memory when the guest had booted; absent if QEMU ended before it could be read"},
	{Name: "vm.modules", Type: evidence.List, Doc: "kernel modules that the guest's first process loaded, in their order"},
}

type vmProbe struct {
	spec
	kvm *kvm
}

func (p *vmProbe) Outputs() []evidence.Output { return slices.Concat(p.outputs, vmOutputs) }

// Exclusive: a boot's time is always among the evidence.
func (p *vmProbe) Exclusive() bool { return true }

func (p *vmProbe) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	switch {
	case env.MicroVM == nil:
		return nil, evidence.Untestablef("this run has prepared no microVM")
	case runtime.GOARCH != "amd64":
		return nil, evidence.Untestablef("labctl's microVMs are x86-64, this machine is %s", runtime.GOARCH)
	case env.MicroVM.QEMU == "":
		return nil, evidence.Untestablef("QEMU is not installed: Debian's and Ubuntu's package is qemu-system-x86")
	}
	b, err := p.boot(ctx, *env.MicroVM)
	if err != nil {
		return nil, err
	}
	inside, err := b.report.Result()
	if err != nil {
		return nil, err
	}
	return slices.Concat(inside, p.evidence(b)).At(where), nil
}

// booted is a machine that has run.
type booted struct {
	console
	accel, reason string
}

// boot takes KVM where the lab wants it and it works, else TCG.
func (p *vmProbe) boot(ctx context.Context, vm probe.MicroVM) (booted, error) {
	reason := ""
	if p.accel != accelTCG {
		c, why, err := p.kvm.boot(ctx, p.spec, vm)
		if err != nil || why == "" {
			return booted{console: c, accel: accelKVM}, err
		}
		if p.accel == accelKVM {
			return booted{}, &evidence.Untestable{Reason: why}
		}
		reason = why
	}
	argv, err := p.argv(ctx, vm, accelTCG)
	if err != nil {
		return booted{}, err
	}
	c, err := run(ctx, argv, p.timeout, p.timeout)
	return booted{console: c, accel: accelTCG, reason: reason}, err
}

func (p *vmProbe) evidence(b booted) evidence.Set {
	var set evidence.Set
	put := func(name string, value any, kind, ref string) {
		i := slices.IndexFunc(vmOutputs, func(o evidence.Output) bool { return o.Name == name })
		o := vmOutputs[i]
		set = append(set, evidence.Value{Name: name, Type: o.Type, Value: value, Unit: o.Unit, Source: evidence.Source{Kind: kind, Ref: ref}})
	}
	put("vm.accelerator", b.accel, "command", "qemu-system-x86_64 -accel")
	put("vm.accelerator_reason", b.reason, "program", "labprobe kvm, and a boot")
	put("vm.machine", p.machine, "command", "qemu-system-x86_64 -machine")
	put("vm.devices", p.devices, "command", "qemu-system-x86_64 -device")
	put("vm.memory", resource.NewQuantity(p.memory, resource.BinarySI).String(), "command", "qemu-system-x86_64 -m")
	put("vm.cpus", int64(p.cpus), "command", "qemu-system-x86_64 -smp")
	put("vm.boot_time", b.bootTime, "clock", "host, monotonic")
	put("vm.kernel_time", b.ready.Uptime, "clock", "guest, CLOCK_MONOTONIC at the start of the first process")
	if b.rss > 0 {
		put("vm.rss", resource.NewQuantity(b.rss, resource.BinarySI).String(), "file", "/proc/PID/status VmRSS of QEMU")
	}
	put("vm.modules", append([]string{}, b.ready.Modules...), "syscall", "finit_module(2)")
	return set
}
