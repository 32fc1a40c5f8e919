package hypervisor_test

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"github.com/isolation-stack/labctl/pkg/hypervisor"
)

// TestReadCPUID: what the instruction gives on this machine must make sense,
// and there is none elsewhere.
func TestReadCPUID(t *testing.T) {
	leaves := hypervisor.ReadCPUID()
	if runtime.GOARCH != "amd64" {
		if leaves != nil {
			t.Errorf("CPUID on %s: %v", runtime.GOARCH, leaves)
		}
		return
	}
	if leaves.Vendor() == "" {
		t.Errorf("a processor without vendor: %v", leaves)
	}
	if len(leaves.Signatures()) > 0 && !leaves.HypervisorBit() {
		t.Errorf("signatures %q without hypervisor bit", leaves.Signatures())
	}
}

func TestTSCFrequency(t *testing.T) {
	khz, err := hypervisor.TSCFrequency(t.Context())
	if err != nil || (khz > 0) != (runtime.GOARCH == "amd64") {
		t.Errorf("got %d kHz, %v on %s", khz, err, runtime.GOARCH)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if khz, err := hypervisor.TSCFrequency(ctx); runtime.GOARCH == "amd64" && !errors.Is(err, context.Canceled) {
		t.Errorf("got %d kHz, %v after an interruption", khz, err)
	}
}
