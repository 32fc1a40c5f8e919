// Package hypervisor tells which hypervisor a machine runs on, from what the
// machine shows of itself: CPUID leaves, DMI and ACPI tables, /sys and /proc.
//
// Detection is a pure function over a tree, and it has three answers: yes,
// no, and can't be told from here. Absence of signs isn't proof: a container
// that sees no /sys has none, and neither has a guest whose hypervisor hides.
package hypervisor

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Answer is yes, no, or unknown: can't be told from here.
type Answer string

// The three answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Name is a hypervisor.
type Name string

// The hypervisors that are told apart. QEMU is what is known of a guest that
// shows QEMU's devices and not what executes its instructions, which KVM
// does, or TCG, or another accelerator.
const (
	KVM        Name = "kvm"
	TCG        Name = "tcg"
	QEMU       Name = "qemu"
	VMware     Name = "vmware"
	HyperV     Name = "hyperv"
	Xen        Name = "xen"
	Bhyve      Name = "bhyve"
	VirtualBox Name = "virtualbox"
	Parallels  Name = "parallels"
	ACRN       Name = "acrn"
)

// Named are the hypervisors that Detection.Is is asked for.
var Named = []Name{KVM, TCG, VMware, HyperV, Xen, Bhyve}

// Tree is what a machine shows of itself.
type Tree struct {
	// FS is the root directory; only /proc and /sys are read.
	FS fs.FS
	// CPUID is nil where the instruction doesn't exist.
	CPUID Leaves
}

// Detection is what a tree tells.
type Detection struct {
	// Present says whether a hypervisor lies beneath this kernel.
	Present Answer
	// Name is "" where there is no hypervisor or it can't be named.
	Name Name
	// Mode is how it runs this kernel: hvm (unmodified, on virtual
	// hardware), pv (paravirtual, Xen only), pvh (in between, Xen only),
	// or control: this is Xen's dom0 or Hyper-V's root partition. "" where
	// it can't be told.
	Mode string
	// Monitor is the program that makes the virtual devices, where it shows:
	// qemu, firecracker, cloud-hypervisor.
	Monitor string
	// Machine is the machine type: q35, i440fx, or microvm for one that has
	// virtio devices and no PC firmware tables.
	Machine string
	// Signs are the observations that the answer rests on, "source: text".
	Signs []string
}

// Is answers whether the hypervisor is name.
func (d Detection) Is(name Name) Answer {
	switch {
	case d.Present == No:
		return No
	case d.Name == name && name != "":
		return Yes
	case d.Present == Unknown, d.Name == "":
		return Unknown
	case d.Name == QEMU && (name == KVM || name == TCG):
		return Unknown
	}
	return No
}

// sign is one observation. A nil name says that something lies beneath, not
// what.
type sign struct {
	source, text string
	name         Name
	// rank orders signs where they name different hypervisors: the greatest
	// wins.
	rank int
}

// The ranks. What a hypervisor says of itself in CPUID counts more than the
// firmware's tables, which its owner may set at will; except that KVM and
// others speak Hyper-V's interface to please Windows, and KVM speaks Xen's:
// those signs are believed where nothing of more weight contradicts them.
const (
	rankBit = iota
	rankHyperV
	rankFirmware
	rankXen
	rankSignature
)

// Detect tells what a tree shows.
func Detect(t Tree) Detection {
	signs := slices.Concat(cpuidSigns(t.CPUID), xenSigns(t.FS), vmbusSigns(t.FS), firmwareSigns(t.FS))
	d := Detection{Monitor: monitor(t.FS), Machine: machine(t.FS)}
	for _, s := range signs {
		d.Signs = append(d.Signs, s.source+": "+s.text)
	}
	if len(signs) == 0 {
		d.Present, d.Signs = absent(t)
		return d
	}
	d.Present = Yes
	d.Name = slices.MaxFunc(signs, func(a, b sign) int { return cmp.Compare(a.rank, b.rank) }).name
	d.Mode = mode(d.Name, t)
	return d
}

// absent decides between no and unknown when there are no signs. Hardware
// never sets the hypervisor bit, so its absence together with a PC's own
// firmware tables means hardware; without either there is nothing to go by.
func absent(t Tree) (Answer, []string) {
	if _, ok := t.CPUID[leafFeatures]; !ok {
		return Unknown, []string{"cpuid: not to be had here"}
	}
	vendor, ok := readText(t.FS, "sys/class/dmi/id/sys_vendor")
	if !ok {
		return Unknown, []string{"cpuid: no hypervisor bit", "/sys/class/dmi/id: not to be had here"}
	}
	return No, []string{"cpuid: no hypervisor bit", "/sys/class/dmi/id/sys_vendor: " + vendor}
}

// signatures are what hypervisors call themselves in CPUID.
var signatures = map[string]Name{
	"KVMKVMKVM":    KVM,
	"Linux KVM Hv": KVM, // KVM that speaks Hyper-V's interface
	"TCGTCGTCGTCG": TCG,
	"VMwareVMware": VMware,
	"Microsoft Hv": HyperV,
	"XenVMMXenVMM": Xen,
	"bhyve bhyve":  Bhyve,
	"BHyVE BHyVE":  Bhyve, // before FreeBSD 10
	"VBoxVBoxVBox": VirtualBox,
	"lrpepyh vr":   Parallels,
	"ACRNACRNACRN": ACRN,
}

func cpuidSigns(l Leaves) []sign {
	if !l.HypervisorBit() {
		return nil
	}
	signs := []sign{{source: "cpuid", text: "hypervisor bit", rank: rankBit}}
	for _, s := range l.Signatures() {
		name, rank := signatures[strings.Join(strings.Fields(s), " ")], rankSignature
		switch name {
		case "":
			rank = rankBit
		case HyperV:
			rank = rankHyperV
		case Xen:
			rank = rankXen
		}
		signs = append(signs, sign{"cpuid", s, name, rank})
	}
	return signs
}

// xenSigns: a paravirtual Xen guest may have no CPUID leaves of Xen's, as
// CPUID isn't a privileged instruction, but its kernel always knows.
func xenSigns(tree fs.FS) []sign {
	if kind, ok := readText(tree, "sys/hypervisor/type"); ok && kind == "xen" {
		return []sign{{"/sys/hypervisor/type", kind, Xen, rankXen}}
	}
	if _, ok := readText(tree, "proc/xen/capabilities"); ok {
		return []sign{{"/proc/xen/capabilities", "exists", Xen, rankXen}}
	}
	return nil
}

func vmbusSigns(tree fs.FS) []sign {
	entries, err := fs.ReadDir(tree, "sys/bus/vmbus/devices")
	if err != nil || len(entries) == 0 {
		return nil
	}
	return []sign{{"/sys/bus/vmbus/devices", fmt.Sprintf("%d devices", len(entries)), HyperV, rankFirmware}}
}

// firmware are the texts in firmware tables that only hypervisors use, by the
// start of the text. ACPI's OEM id has six characters. Amazon and Google are
// not here: their bare-metal machines carry the same names as their virtual
// ones.
var firmware = []struct {
	file, prefix string
	name         Name
}{
	{"sys/class/dmi/id/sys_vendor", "QEMU", QEMU},
	{"sys/class/dmi/id/sys_vendor", "VMware", VMware},
	{"sys/class/dmi/id/sys_vendor", "Xen", Xen},
	{"sys/class/dmi/id/sys_vendor", "innotek GmbH", VirtualBox},
	{"sys/class/dmi/id/sys_vendor", "Parallels", Parallels},
	{"sys/class/dmi/id/product_name", "KVM", KVM},
	{"sys/class/dmi/id/product_name", "BHYVE", Bhyve},
	{"sys/class/dmi/id/product_name", "VirtualBox", VirtualBox},
	{"sys/class/dmi/id/bios_vendor", "BHYVE", Bhyve},
	{"sys/class/dmi/id/board_vendor", "QEMU", QEMU},
	{acpiTable, "BOCHS ", QEMU},
	{acpiTable, "FIRECK", KVM},
	{acpiTable, "CLOUDH", KVM},
	{acpiTable, "VRTUAL", HyperV},
	{acpiTable, "VMWARE", VMware},
	{acpiTable, "BHYVE ", Bhyve},
	{acpiTable, "VBOX  ", VirtualBox},
}

func firmwareSigns(tree fs.FS) []sign {
	var signs []sign
	for _, f := range firmware {
		s, ok := firmwareText(tree, f.file)
		if ok && strings.HasPrefix(s, f.prefix) {
			signs = append(signs, sign{"/" + f.file, strings.TrimSpace(s), f.name, rankFirmware})
		}
	}
	// Microsoft makes computers as well; only its virtual ones are called so.
	vendor, _ := readText(tree, "sys/class/dmi/id/sys_vendor")
	product, _ := readText(tree, "sys/class/dmi/id/product_name")
	if vendor == "Microsoft Corporation" && product == "Virtual Machine" {
		signs = append(signs, sign{"/sys/class/dmi/id/product_name", product, HyperV, rankFirmware})
	}
	return signs
}

// mode tells how the hypervisor runs this kernel.
func mode(name Name, t Tree) string {
	switch name {
	case Xen:
		if caps, _ := readText(t.FS, "proc/xen/capabilities"); strings.Contains(caps, "control_d") {
			return "control"
		}
		// Linux 4.13 and later say it outright.
		if kind, ok := readText(t.FS, "sys/hypervisor/guest_type"); ok {
			return strings.ToLower(kind)
		}
		if product, ok := readText(t.FS, "sys/class/dmi/id/product_name"); ok && product == "HVM domU" {
			return "hvm"
		}
		if t.CPUID != nil && !slices.Contains(t.CPUID.Signatures(), "XenVMMXenVMM") {
			return "pv"
		}
		return ""
	case HyperV:
		if t.CPUID.HyperVRoot() {
			return "control"
		}
		return "hvm"
	case "":
		return ""
	}
	return "hvm"
}

// monitor tells the program that makes the devices.
func monitor(tree fs.FS) string {
	oem, _ := firmwareText(tree, acpiTable)
	vendor, _ := readText(tree, "sys/class/dmi/id/sys_vendor")
	_, fwcfg := readText(tree, "sys/firmware/qemu_fw_cfg/rev")
	switch {
	case oem == "FIRECK":
		return "firecracker"
	case oem == "CLOUDH", vendor == "Cloud Hypervisor":
		return "cloud-hypervisor"
	case oem == "BOCHS ", vendor == "QEMU", fwcfg:
		return "qemu"
	}
	return ""
}

// machine tells the machine type. A microvm (QEMU's, Firecracker's) has
// virtio devices and none of a PC's firmware tables.
func machine(tree fs.FS) string {
	product, _ := readText(tree, "sys/class/dmi/id/product_name")
	switch {
	case strings.HasPrefix(product, "Standard PC (Q35"):
		return "q35"
	case strings.HasPrefix(product, "Standard PC (i440FX"):
		return "i440fx"
	}
	if _, err := fs.Stat(tree, "sys/class/dmi/id"); err == nil {
		return ""
	}
	if devices, err := fs.ReadDir(tree, "sys/bus/virtio/devices"); err == nil && len(devices) > 0 {
		return "microvm"
	}
	return ""
}

// acpiTable is the table that every ACPI machine has. Only root reads it.
const acpiTable = "sys/firmware/acpi/tables/FACP"

// firmwareText reads a text that firmware left: a DMI file's line, or an ACPI
// table's OEM id, the six characters after signature, length, revision and
// checksum (ACPI specification, system description table header).
func firmwareText(tree fs.FS, file string) (string, bool) {
	if file != acpiTable {
		return readText(tree, file)
	}
	b, err := fs.ReadFile(tree, file)
	if err != nil || len(b) < 16 {
		return "", false
	}
	return string(b[10:16]), true
}

func readText(tree fs.FS, file string) (string, bool) {
	b, err := fs.ReadFile(tree, file)
	return strings.TrimSpace(string(b)), err == nil
}
