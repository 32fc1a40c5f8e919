package labprobe

import (
	"fmt"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

const kvmUsage = "[--as-uid UID] [--timeout DURATION]"

// kvmTimeout is enough for six instructions on the slowest emulator; a nested
// KVM may hang instead of failing.
const (
	kvmTimeout    = 5 * time.Second
	kvmTimeoutMax = time.Minute
)

// kvmDeviceOutputs say who may open /dev/kvm.
var kvmDeviceOutputs = []evidence.Output{
	{Name: "device.mode", Type: evidence.String, Doc: "permissions of /dev/kvm, octal"},
	{Name: "device.uid", Type: evidence.Int, Doc: "its owner"},
	{Name: "device.gid", Type: evidence.Int, Doc: "its group"},
	{Name: "open.uid", Type: evidence.Int, Doc: "user that opened it"},
	{Name: "open.allowed", Type: evidence.Bool, Doc: "open(2) for reading and writing succeeded"},
	{Name: "open.errno", Type: evidence.String, Doc: "how it failed: EACCES, …; empty if it succeeded"},
}

// kvmMachineOutputs say what KVM offers and whether it works. The request
// numbers, capabilities and exit reasons are those of linux/kvm.h and
// Documentation/virt/kvm/api.rst.
var kvmMachineOutputs = []evidence.Output{
	{Name: "kvm.api_version", Type: evidence.Int, Doc: "KVM_GET_API_VERSION; 12 since 2007"},
	{Name: "kvm.irqfd", Type: evidence.Bool, Doc: "KVM_CAP_IRQFD (32): an eventfd raises an interrupt in the guest"},
	{Name: "kvm.ioeventfd", Type: evidence.Bool, Doc: "KVM_CAP_IOEVENTFD (36): a guest's write signals an eventfd"},
	{Name: "kvm.nested_state", Type: evidence.Bool, Doc: "KVM_CAP_NESTED_STATE (157): guests' own guests can be saved"},
	{Name: "kvm.vcpus", Type: evidence.Int, Unit: "count", Doc: "KVM_CAP_NR_VCPUS: recommended number of virtual processors"},
	{Name: "kvm.vcpus_max", Type: evidence.Int, Unit: "count", Doc: "KVM_CAP_MAX_VCPUS: greatest number of virtual processors"},
	{Name: "run.outcome", Type: evidence.String, Doc: "hlt (the instructions ran to their end), timeout (they hung and were killed), error"},
	{Name: "run.detail", Type: evidence.String, Doc: "what went wrong; empty for hlt"},
	{Name: "run.stage", Type: evidence.String, Doc: "how far it came: start, vm, memory, vcpu, run, done"},
	{Name: "run.exit_reason", Type: evidence.Int, Doc: "exit_reason of the last KVM_RUN: 5 is KVM_EXIT_HLT; -1 if it never returned"},
	{Name: "run.port", Type: evidence.Int, Doc: "what the guest wrote to I/O port 0x42: 6 × 7; -1 if nothing"},
	{Name: "run.memory", Type: evidence.Int, Doc: "what the guest wrote to its memory: 6 × 7; -1 if it never came to it"},
	{Name: "run.time", Type: evidence.Duration, Doc: "from opening /dev/kvm to the end of the instructions, or to the kill"},
}

type kvmArgs struct {
	asUID   int // -1: the caller's own
	timeout time.Duration
}

func parseKVM(args []string) (kvmArgs, error) {
	var k kvmArgs
	f := newFlags()
	f.IntVar(&k.asUID, "as-uid", -1, "")
	f.DurationVar(&k.timeout, "timeout", kvmTimeout, "")
	if err := f.Parse(args); err != nil {
		return k, fmt.Errorf("kvm wants %s: %w", kvmUsage, err)
	}
	if f.NArg() > 0 || k.timeout <= 0 || k.timeout > kvmTimeoutMax || k.asUID < -1 {
		return k, fmt.Errorf("kvm wants %s; got %q", kvmUsage, args)
	}
	return k, nil
}

func kvmOutputs(args []string) ([]evidence.Output, error) {
	k, err := parseKVM(args)
	switch {
	case err != nil:
		return nil, err
	case k.asUID >= 0:
		return kvmDeviceOutputs, nil
	}
	return append(append([]evidence.Output{}, kvmDeviceOutputs...), kvmMachineOutputs...), nil
}

// kvmRun is how the virtual machine went. The child process that runs it
// prints one as JSON after each stage, so that a hang shows where it was.
type kvmRun struct {
	Outcome string        `json:"outcome"`
	Detail  string        `json:"detail,omitempty"`
	Stage   string        `json:"stage"`
	Reason  int64         `json:"reason"`
	Port    int64         `json:"port"`
	Memory  int64         `json:"memory"`
	Time    time.Duration `json:"time"`
}

// The outcomes of a run.
const (
	kvmHalted   = "hlt"
	kvmTimedOut = "timeout"
	kvmFailed   = "error"
)
