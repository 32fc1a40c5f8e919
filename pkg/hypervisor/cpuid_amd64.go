package hypervisor

// cpuid executes the CPUID instruction.
//
//go:noescape
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

const hasTSC = true

// rdtsc reads the time stamp counter.
//
//go:noescape
func rdtsc() uint64

// ReadCPUID executes CPUID for the leaves that this package looks at. It
// returns nil on processors that have no such instruction.
func ReadCPUID() Leaves {
	leaves := Leaves{}
	read := func(leaf uint32) Registers {
		a, b, c, d := cpuid(leaf, 0)
		leaves[leaf] = Registers{a, b, c, d}
		return leaves[leaf]
	}
	// A leaf beyond the greatest of its range returns the data of another
	// one, so each range is read only as far as its first leaf says.
	highest := read(leafVendor).EAX
	for _, leaf := range []uint32{leafFeatures, leafTDX} {
		if leaf <= highest {
			read(leaf)
		}
	}
	highest = read(leafExtended).EAX
	for _, leaf := range []uint32{leafExtendedFeatures, leafSVM, leafEncryption} {
		if leaf <= highest {
			read(leaf)
		}
	}
	if !leaves.HypervisorBit() {
		return leaves
	}
	for base := leafHypervisor; base < leafHypervisorEnd; base += leafHypervisorStep {
		highest := read(base).EAX
		// Hyper-V tells in its fourth leaf what this partition may do.
		if leaf := base + leafPrivileges; leaf <= highest && highest < base+leafHypervisorStep {
			read(leaf)
		}
	}
	return leaves
}
