package hypervisor

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Registers is what one CPUID leaf returns.
type Registers struct{ EAX, EBX, ECX, EDX uint32 }

// Leaves are the CPUID leaves of a machine by number, subleaf 0. It is nil
// where the instruction doesn't exist, which is not the same as a processor
// that lacks every feature.
type Leaves map[uint32]Registers

// The leaves that are read. Sources: Intel SDM volume 2A, CPUID; AMD64 APM
// volume 3, appendix E. 0x40000000 to 0x4fffffff are left to hypervisors by
// both; a hypervisor that emulates another one puts its own leaves 0x100
// further up (Xen's arch-x86/cpuid.h, KVM's cpuid.rst).
const (
	leafVendor           uint32 = 0x0
	leafFeatures         uint32 = 0x1
	leafTDX              uint32 = 0x21
	leafHypervisor       uint32 = 0x40000000
	leafHypervisorEnd    uint32 = 0x40000400
	leafHypervisorStep   uint32 = 0x100
	leafPrivileges       uint32 = 0x3 // relative to leafHypervisor
	leafExtended         uint32 = 0x80000000
	leafExtendedFeatures uint32 = 0x80000001
	leafSVM              uint32 = 0x8000000a
	leafEncryption       uint32 = 0x8000001f
)

// bit says whether a bit of one register of a leaf is set; a leaf that the
// processor doesn't have has no bits.
func (l Leaves) bit(leaf uint32, register func(Registers) uint32, bit int) bool {
	return register(l[leaf])>>bit&1 == 1
}

func eax(r Registers) uint32 { return r.EAX }
func ebx(r Registers) uint32 { return r.EBX }
func ecx(r Registers) uint32 { return r.ECX }
func edx(r Registers) uint32 { return r.EDX }

// VMX is Intel VT-x: leaf 1, ECX bit 5.
func (l Leaves) VMX() bool { return l.bit(leafFeatures, ecx, 5) }

// HypervisorBit is leaf 1, ECX bit 31: always 0 on hardware, set by
// hypervisors for their guests.
func (l Leaves) HypervisorBit() bool { return l.bit(leafFeatures, ecx, 31) }

// SVM is AMD-V: leaf 0x80000001, ECX bit 2.
func (l Leaves) SVM() bool { return l.bit(leafExtendedFeatures, ecx, 2) }

// NestedPaging is AMD's second level of address translation: leaf
// 0x8000000A, EDX bit 0; it means something only together with SVM.
func (l Leaves) NestedPaging() bool { return l.SVM() && l.bit(leafSVM, edx, 0) }

// SME is AMD's memory encryption. Leaf 0x8000001F has it and SEV, SEVES and SEVSNP in
// EAX bits 0, 1, 3 and 4.
func (l Leaves) SME() bool { return l.bit(leafEncryption, eax, 0) }

// SEV is Secure Encrypted Virtualization; see SME.
func (l Leaves) SEV() bool { return l.bit(leafEncryption, eax, 1) }

// SEVES is SEV with encrypted register state; see SME.
func (l Leaves) SEVES() bool { return l.bit(leafEncryption, eax, 3) }

// SEVSNP is SEV with secure nested paging; see SME.
func (l Leaves) SEVSNP() bool { return l.bit(leafEncryption, eax, 4) }

// TDXGuest says whether this is a trust domain of Intel TDX: leaf 0x21
// carries the text "IntelTDX    " in EBX, EDX, ECX.
func (l Leaves) TDXGuest() bool {
	r, ok := l[leafTDX]
	return ok && text(r.EBX, r.EDX, r.ECX) == "IntelTDX    "
}

// Vendor is the processor's vendor: leaf 0, EBX, EDX, ECX.
func (l Leaves) Vendor() string {
	r := l[leafVendor]
	return clean(text(r.EBX, r.EDX, r.ECX))
}

// Signatures are the names that hypervisors give themselves, in the order of
// their leaves (0x40000000, 0x40000100, …): EBX, ECX, EDX. Empty without the
// hypervisor bit, where these leaves mean nothing.
func (l Leaves) Signatures() []string {
	var found []string
	if !l.HypervisorBit() {
		return nil
	}
	for base := leafHypervisor; base < leafHypervisorEnd; base += leafHypervisorStep {
		r, ok := l[base]
		// Some processors answer leaves they don't have with those of
		// another; a hypervisor's greatest leaf lies in its own range (old
		// KVM says 0).
		if !ok || r.EAX != 0 && (r.EAX < base || r.EAX >= base+leafHypervisorStep) {
			continue
		}
		if s := clean(text(r.EBX, r.ECX, r.EDX)); s != "" {
			found = append(found, s)
		}
	}
	return found
}

// HyperVRoot says whether this is Hyper-V's root partition, which is the
// host and not one of its guests: only it may create partitions (Hyper-V
// TLFS, leaf 0x40000003, EBX bit 0).
func (l Leaves) HyperVRoot() bool {
	return l.bit(leafHypervisor+leafPrivileges, ebx, 0)
}

func text(words ...uint32) string {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return string(b)
}

// clean drops the padding, and turns what isn't text into dots: a signature
// is input like any other.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, strings.TrimRight(s, "\x00 "))
}

// ParseLeaves reads what the cpuid program prints with --raw, one leaf a
// line: "0x40000000 0x00: eax=0x40000001 ebx=0x4b4d564b ecx=0x564b4d56
// edx=0x0000004d". Subleaves other than 0 are passed over.
func ParseLeaves(s string) (Leaves, error) {
	leaves := Leaves{}
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "CPU") {
			continue
		}
		var leaf, sub uint32
		var r Registers
		if _, err := fmt.Sscanf(line, "0x%x 0x%x: eax=0x%x ebx=0x%x ecx=0x%x edx=0x%x", &leaf, &sub, &r.EAX, &r.EBX, &r.ECX, &r.EDX); err != nil {
			return nil, fmt.Errorf("CPUID line %q: %w", line, err)
		}
		if sub == 0 {
			leaves[leaf] = r
		}
	}
	return leaves, nil
}
