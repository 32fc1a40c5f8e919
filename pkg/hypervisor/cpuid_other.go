//go:build !amd64

package hypervisor

// ReadCPUID returns nil: this processor has no CPUID instruction.
func ReadCPUID() Leaves { return nil }

const hasTSC = false

func rdtsc() uint64 { return 0 }
