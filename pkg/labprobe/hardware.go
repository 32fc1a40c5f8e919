package labprobe

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/hypervisor"
)

// hardwareCommands look at what lies beneath the kernel: processor, firmware,
// hypervisor, devices, /dev/kvm.
var hardwareCommands = []Command{
	{
		Name: "hardware", Doc: "processor, hypervisor, firmware, devices and clock as the kernel shows them",
		Outputs: noArgs(slices.Concat(cpuOutputs, hypervisorOutputs, platformOutputs, virtioOutputs)...), Run: runHardware,
	},
	{
		Name: "kvm", Usage: kvmUsage, Doc: "what /dev/kvm offers, and whether a virtual machine of a few instructions runs to its end",
		Outputs: kvmOutputs, Run: runKVM,
	},
	{
		Name: "kernel-log", Usage: kernelLogUsage, Doc: "lines of the kernel's log that hold a text, as dmesg | grep finds them",
		Outputs: kernelLogOutputs, Run: runKernelLog,
	},
	{
		Name: "tracing", Usage: tracingUsage, Doc: "which tracepoints and kernel functions exist",
		Outputs: tracingOutputs, Run: runTracing,
	},
	{
		Name: "init", Doc: "first process of a microVM: runs the command that the kernel command line holds",
		Outputs: noArgs(), Run: runInit,
	},
}

// Answers written as text are yes, no or unknown; unknown means that it can't
// be told from here. What a place doesn't show at all is absent.
var cpuOutputs = []evidence.Output{
	{Name: "cpu.model", Type: evidence.String, Doc: "model name in /proc/cpuinfo"},
	{Name: "cpu.vmx", Type: evidence.Bool, Doc: "flag vmx (Intel VT-x) in /proc/cpuinfo"},
	{Name: "cpu.svm", Type: evidence.Bool, Doc: "flag svm (AMD-V) in /proc/cpuinfo"},
	{Name: "cpu.ept", Type: evidence.Bool, Doc: "flag ept (Intel's second level of address translation) in /proc/cpuinfo"},
	{Name: "cpu.npt", Type: evidence.Bool, Doc: "flag npt (AMD's) in /proc/cpuinfo"},
	{Name: "cpu.hypervisor", Type: evidence.Bool, Doc: "flag hypervisor in /proc/cpuinfo"},

	{Name: "cpuid.vendor", Type: evidence.String, Doc: "processor vendor, leaf 0"},
	{Name: "cpuid.vmx", Type: evidence.Bool, Doc: "VT-x, leaf 1 ECX bit 5"},
	{Name: "cpuid.svm", Type: evidence.Bool, Doc: "AMD-V, leaf 0x80000001 ECX bit 2"},
	{Name: "cpuid.npt", Type: evidence.Bool, Doc: "nested paging, leaf 0x8000000A EDX bit 0"},
	{Name: "cpuid.hypervisor", Type: evidence.Bool, Doc: "hypervisor bit, leaf 1 ECX bit 31"},
	{Name: "cpuid.signatures", Type: evidence.List, Doc: "names that hypervisors give themselves, leaves 0x40000000, 0x40000100, …"},
	{Name: "cpuid.sme", Type: evidence.Bool, Doc: "AMD memory encryption, leaf 0x8000001F EAX bit 0"},
	{Name: "cpuid.sev", Type: evidence.Bool, Doc: "AMD SEV, leaf 0x8000001F EAX bit 1"},
	{Name: "cpuid.sev_es", Type: evidence.Bool, Doc: "AMD SEV-ES, leaf 0x8000001F EAX bit 3"},
	{Name: "cpuid.sev_snp", Type: evidence.Bool, Doc: "AMD SEV-SNP, leaf 0x8000001F EAX bit 4"},
	{Name: "cpuid.tdx_guest", Type: evidence.Bool, Doc: "this is an Intel trust domain, leaf 0x21"},
}

var hypervisorOutputs = []evidence.Output{
	{Name: "hypervisor.present", Type: evidence.String, Doc: "whether a hypervisor lies beneath: yes, no, unknown"},
	{Name: "hypervisor.name", Type: evidence.String, Doc: "kvm, tcg, qemu (QEMU, accelerator unknown), vmware, hyperv, xen, bhyve, …; empty if none or unnamed"},
	{Name: "hypervisor.mode", Type: evidence.String, Doc: "hvm, pv, pvh, or control (dom0, root partition)"},
	{Name: "hypervisor.monitor", Type: evidence.String, Doc: "program that makes the virtual devices, if it shows: qemu, firecracker, cloud-hypervisor"},
	{Name: "hypervisor.machine", Type: evidence.String, Doc: "machine type, if it shows: q35, i440fx, microvm"},
	{Name: "hypervisor.signs", Type: evidence.List, Doc: "observations that the answer rests on"},
	{Name: "hypervisor.kvm", Type: evidence.String, Doc: "whether it is KVM: yes, no, unknown"},
	{Name: "hypervisor.tcg", Type: evidence.String, Doc: "whether it is QEMU's TCG: yes, no, unknown"},
	{Name: "hypervisor.vmware", Type: evidence.String, Doc: "whether it is VMware's: yes, no, unknown"},
	{Name: "hypervisor.hyperv", Type: evidence.String, Doc: "whether it is Hyper-V: yes, no, unknown"},
	{Name: "hypervisor.xen", Type: evidence.String, Doc: "whether it is Xen: yes, no, unknown"},
	{Name: "hypervisor.bhyve", Type: evidence.String, Doc: "whether it is bhyve: yes, no, unknown"},
}

var platformOutputs = []evidence.Output{
	{Name: "kvm.device", Type: evidence.Bool, Doc: "/dev/kvm exists"},
	{Name: "kvm.modules", Type: evidence.List, Doc: "KVM's parts in /sys/module: kvm_intel, kvm_amd, kvm_pvm, …"},
	{Name: "kvm.nested", Type: evidence.String, Doc: "whether KVM offers its guests VT-x or AMD-V: yes, no, unknown"},
	{Name: "kvm.ept", Type: evidence.String, Doc: "whether KVM uses hardware's second level of address translation: yes, no, unknown"},
	{Name: "sev.host", Type: evidence.String, Doc: "whether KVM can run SEV guests: yes, no, unknown"},
	{Name: "sev.guest", Type: evidence.Bool, Doc: "/dev/sev-guest exists: this is an SEV-SNP guest"},
	{Name: "tdx.host", Type: evidence.String, Doc: "whether KVM can run trust domains: yes, no, unknown"},
	{Name: "tdx.guest", Type: evidence.Bool, Doc: "/dev/tdx_guest exists: this is a trust domain"},
	{Name: "tpm.device", Type: evidence.Bool, Doc: "/dev/tpm0 exists"},
	{Name: "tpm.count", Type: evidence.Int, Unit: "count", Doc: "TPMs in /sys/class/tpm"},
	{Name: "tpm.version", Type: evidence.String, Doc: "major version of the first TPM, 1 or 2; empty without one"},
	{Name: "iommu.groups", Type: evidence.Int, Unit: "count", Doc: "groups in /sys/kernel/iommu_groups"},
	{Name: "dmi.present", Type: evidence.Bool, Doc: "firmware left DMI tables"},
	{Name: "dmi.vendor", Type: evidence.String, Doc: "system vendor; empty without DMI"},
	{Name: "dmi.product", Type: evidence.String, Doc: "product name; empty without DMI"},
	{Name: "clock.current", Type: evidence.String, Doc: "clock source in use"},
	{Name: "clock.available", Type: evidence.List, Doc: "clock sources"},
	{Name: "clock.paravirtual", Type: evidence.Bool, Doc: "a hypervisor's clock source is available: kvm-clock, xen or hyperv_*"},
	{Name: "xen.present", Type: evidence.Bool, Doc: "/sys/hypervisor/type says xen"},
	{Name: "hyperv.devices", Type: evidence.Int, Unit: "count", Doc: "devices on Hyper-V's bus, vmbus"},
	{Name: "kernel.distributor", Type: evidence.String, Doc: "who built this kernel, if /proc/version says so: debian, ubuntu, fedora, redhat, suse, arch, amazon; empty if not"},
}

// measureHardware is the command as a function of what a machine shows.
func measureHardware(tree fs.FS, leaves hypervisor.Leaves) (evidence.Set, error) {
	r := newRecord(slices.Concat(cpuOutputs, hypervisorOutputs, platformOutputs, virtioOutputs))
	hardwareCPU(r, tree, leaves)
	detection := hypervisor.Detect(hypervisor.Tree{FS: tree, CPUID: leaves})
	hardwareHypervisor(r, detection)
	hardwareKVM(r, tree, leaves)
	hardwarePlatform(r, tree)
	hardwareDevices(r, tree, detection.Present == hypervisor.Yes)
	return r.result()
}

func hardwareCPU(r *record, tree fs.FS, leaves hypervisor.Leaves) {
	const cpuinfo = "proc/cpuinfo"
	if b, err := fs.ReadFile(tree, cpuinfo); err == nil {
		// Intel's EPT moved from the flags to a line of its own in Linux 5.6.
		flags := append(cpuinfoField(b, "flags"), cpuinfoField(b, "vmx flags")...)
		r.put("cpu.model", strings.Join(cpuinfoField(b, "model name"), " "), "file", "/"+cpuinfo)
		for _, flag := range []string{"vmx", "svm", "ept", "npt", "hypervisor"} {
			r.put("cpu."+flag, slices.Contains(flags, flag), "file", "/"+cpuinfo)
		}
	}
	if leaves == nil {
		return
	}
	r.put("cpuid.vendor", leaves.Vendor(), "cpuid", "0x0")
	r.put("cpuid.vmx", leaves.VMX(), "cpuid", "0x1 ECX[5]")
	r.put("cpuid.svm", leaves.SVM(), "cpuid", "0x80000001 ECX[2]")
	r.put("cpuid.npt", leaves.NestedPaging(), "cpuid", "0x8000000a EDX[0]")
	r.put("cpuid.hypervisor", leaves.HypervisorBit(), "cpuid", "0x1 ECX[31]")
	r.put("cpuid.signatures", leaves.Signatures(), "cpuid", "0x40000000")
	r.put("cpuid.sme", leaves.SME(), "cpuid", "0x8000001f EAX[0]")
	r.put("cpuid.sev", leaves.SEV(), "cpuid", "0x8000001f EAX[1]")
	r.put("cpuid.sev_es", leaves.SEVES(), "cpuid", "0x8000001f EAX[3]")
	r.put("cpuid.sev_snp", leaves.SEVSNP(), "cpuid", "0x8000001f EAX[4]")
	r.put("cpuid.tdx_guest", leaves.TDXGuest(), "cpuid", "0x21")
}

// cpuinfoField returns the words of a field of the first processor.
func cpuinfoField(cpuinfo []byte, name string) []string {
	for _, line := range lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.Fields(value)
		}
	}
	return nil
}

func hardwareHypervisor(r *record, d hypervisor.Detection) {
	const by = "hypervisor detection, see hypervisor.signs"
	r.put("hypervisor.present", string(d.Present), "program", by)
	r.put("hypervisor.name", string(d.Name), "program", by)
	r.put("hypervisor.mode", d.Mode, "program", by)
	r.put("hypervisor.monitor", d.Monitor, "program", by)
	r.put("hypervisor.machine", d.Machine, "program", by)
	r.put("hypervisor.signs", d.Signs, "program", "hypervisor detection")
	for _, name := range hypervisor.Named {
		r.put("hypervisor."+string(name), string(d.Is(name)), "program", by)
	}
}

func hardwareKVM(r *record, tree fs.FS, leaves hypervisor.Leaves) {
	r.put("kvm.device", exists(tree, "dev/kvm"), "file", "/dev/kvm")
	modules := slices.DeleteFunc(names(tree, "sys/module"), func(m string) bool { return !strings.HasPrefix(m, "kvm_") })
	r.put("kvm.modules", modules, "file", "/sys/module/kvm_*")

	// Without VT-x or AMD-V neither module can be there, and a missing
	// parameter means no; with them it means that the module isn't loaded.
	vmx, svm := leaves.VMX(), leaves.SVM()
	r.answer(tree, "kvm.nested", leaves != nil && !vmx && !svm, "kvm_intel/parameters/nested", "kvm_amd/parameters/nested")
	r.answer(tree, "kvm.ept", leaves != nil && !vmx && !svm, "kvm_intel/parameters/ept", "kvm_amd/parameters/npt")
	r.answer(tree, "sev.host", leaves != nil && !leaves.SEV(), "kvm_amd/parameters/sev")
	r.answer(tree, "tdx.host", leaves != nil && !vmx, "kvm_intel/parameters/tdx")
	r.put("sev.guest", exists(tree, "dev/sev-guest"), "file", "/dev/sev-guest")
	r.put("tdx.guest", exists(tree, "dev/tdx_guest"), "file", "/dev/tdx_guest")
}

// answer puts yes or no as the first module parameter that is there says;
// where none is, no if the processor rules it out, else unknown.
func (r *record) answer(tree fs.FS, name string, ruledOut bool, parameters ...string) {
	for _, p := range parameters {
		switch text, _ := readText(tree, "sys/module/"+p); text {
		case "Y", "1":
			r.put(name, string(hypervisor.Yes), "file", "/sys/module/"+p)
			return
		case "N", "0":
			r.put(name, string(hypervisor.No), "file", "/sys/module/"+p)
			return
		}
	}
	if ruledOut {
		r.put(name, string(hypervisor.No), "cpuid", "the processor shows no such feature")
		return
	}
	r.put(name, string(hypervisor.Unknown), "file", "/sys/module/"+strings.Join(parameters, ", /sys/module/"))
}

func hardwarePlatform(r *record, tree fs.FS) {
	r.put("tpm.device", exists(tree, "dev/tpm0"), "file", "/dev/tpm0")
	tpms := names(tree, "sys/class/tpm")
	r.put("tpm.count", len(tpms), "file", "/sys/class/tpm")
	version := ""
	if len(tpms) > 0 {
		version, _ = readText(tree, "sys/class/tpm/"+tpms[0]+"/tpm_version_major")
	}
	r.put("tpm.version", version, "file", "/sys/class/tpm/*/tpm_version_major")
	r.put("iommu.groups", len(names(tree, "sys/kernel/iommu_groups")), "file", "/sys/kernel/iommu_groups")

	const dmi = "sys/class/dmi/id"
	vendor, err := readText(tree, dmi+"/sys_vendor")
	product, _ := readText(tree, dmi+"/product_name")
	r.put("dmi.present", err == nil, "file", "/"+dmi)
	r.put("dmi.vendor", vendor, "file", "/"+dmi+"/sys_vendor")
	r.put("dmi.product", product, "file", "/"+dmi+"/product_name")

	const clock = "sys/devices/system/clocksource/clocksource0/"
	if text, err := readText(tree, clock+"available_clocksource"); err == nil {
		available := strings.Fields(text)
		r.put("clock.available", available, "file", "/"+clock+"available_clocksource")
		r.put("clock.paravirtual", slices.ContainsFunc(available, paravirtualClock), "file", "/"+clock+"available_clocksource")
	}
	r.file(tree, "clock.current", clock+"current_clocksource")

	kind, _ := readText(tree, "sys/hypervisor/type")
	r.put("xen.present", kind == "xen", "file", "/sys/hypervisor/type")
	r.put("hyperv.devices", len(names(tree, "sys/bus/vmbus/devices")), "file", "/sys/bus/vmbus/devices")
	if text, err := readText(tree, "proc/version"); err == nil {
		r.put("kernel.distributor", distributor(text), "file", "/proc/version")
	}
}

func paravirtualClock(name string) bool {
	return name == "kvm-clock" || name == "xen" || strings.HasPrefix(name, "hyperv_")
}

// distributor tells by the builder's address or the compiler's package, which
// /proc/version carries.
func distributor(version string) string {
	version = strings.ToLower(version)
	for _, d := range [][2]string{
		{"ubuntu", "ubuntu"}, {"@lists.debian.org", "debian"}, {"fedoraproject", "fedora"}, {".fc", "fedora"},
		{"amazon", "amazon"}, {"red hat", "redhat"}, {"suse", "suse"}, {"archlinux", "arch"},
	} {
		if strings.Contains(version, d[0]) {
			return d[1]
		}
	}
	return ""
}

// names lists a directory, sorted; a directory that isn't there is empty.
func names(tree fs.FS, dir string) []string {
	entries, err := fs.ReadDir(tree, dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
