package labprobe

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

func TestKVMDeviceMissing(t *testing.T) {
	_, err := measureKVM(t.Context(), kvmArgs{asUID: -1, timeout: time.Second}, filepath.Join(t.TempDir(), "kvm"))
	var untestable *evidence.Untestable
	if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, "no KVM in the kernel") {
		t.Errorf("got %v, want untestable", err)
	}
}

func TestKVMDeviceIsAnother(t *testing.T) {
	_, err := measureKVM(t.Context(), kvmArgs{asUID: -1, timeout: time.Second}, "/dev/null")
	if err == nil || !strings.Contains(err.Error(), "it is no KVM device") {
		t.Errorf("got %v, want an error that says that it is no KVM device", err)
	}
}

// TestKVMAsUser: the permissions decide, both ways. Becoming another user
// takes root; without it the answer must be untestable, not a verdict.
func TestKVMAsUser(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(closed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ device, want string }{
		{closed, "device.mode=0600\nopen.uid=65534\nopen.allowed=false\nopen.errno=EACCES"},
		{"/dev/null", "device.mode=0666\nopen.allowed=true\nopen.errno="},
	}
	for _, c := range cases {
		set, err := measureKVM(t.Context(), kvmArgs{asUID: 65534, timeout: time.Second}, c.device)
		if os.Geteuid() != 0 {
			var untestable *evidence.Untestable
			if !errors.As(err, &untestable) {
				t.Errorf("%s: got %v without root, want untestable", c.device, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantEvidence(t, set, c.want)
		if os.Geteuid() != 0 {
			t.Fatal("the whole process has become another user")
		}
	}
}

func TestKVMChild(t *testing.T) {
	const vm = `{"stage":"vm","reason":-1,"port":-1,"memory":-1}`
	const done = `{"outcome":"hlt","stage":"done","reason":5,"port":42,"memory":42,"time":1000}`
	cases := []struct {
		name, script string
		timeout      time.Duration
		want         kvmRun
		detail       string
	}{
		{"halts", "echo '" + vm + "'; echo '" + done + "'", time.Minute, kvmRun{Outcome: kvmHalted, Stage: "done", Reason: 5, Port: 42, Memory: 42}, ""},
		{"hangs", "echo '" + vm + "'; exec sleep 60", 300 * time.Millisecond, kvmRun{Outcome: kvmTimedOut, Stage: "vm", Reason: -1, Port: -1, Memory: -1}, "hung at stage vm, killed after 300ms"},
		{"dies", "echo '" + vm + "'; kill -SEGV $$", time.Minute, kvmRun{Outcome: kvmFailed, Stage: "vm", Reason: -1, Port: -1, Memory: -1}, "died at stage vm"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := runKVMChild(t.Context(), c.timeout, exec.Command("sh", "-c", c.script))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Detail, c.detail) {
				t.Errorf("detail %q, want %q in it", got.Detail, c.detail)
			}
			got.Detail, got.Time = "", 0
			if got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	for name, script := range map[string]string{"says nothing": "exit 0", "says rubbish": "echo rubbish"} {
		if _, err := runKVMChild(t.Context(), time.Minute, exec.Command("sh", "-c", script)); err == nil {
			t.Errorf("a child that %s is no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := runKVMChild(ctx, time.Minute, exec.Command("sleep", "60")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after an interruption, want context.Canceled", err)
	}
}

// TestKVMHere runs the virtual machine where there is KVM. Whether it runs to
// its end is the host's affair; the evidence must agree with itself.
func TestKVMHere(t *testing.T) {
	set, err := runKVM(t.Context(), nil)
	var untestable *evidence.Untestable
	if errors.As(err, &untestable) {
		t.Skipf("no usable /dev/kvm on this machine: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantEvidence(t, set, "kvm.api_version=12\nopen.allowed=true")
	outcome, _ := set.Get("run.outcome")
	switch outcome.Value {
	case kvmHalted:
		wantEvidence(t, set, "run.exit_reason=5\nrun.port=42\nrun.memory=42\nrun.stage=done\nrun.detail=")
	case kvmTimedOut, kvmFailed:
		if detail, _ := set.Get("run.detail"); detail.Value == "" {
			t.Error("a failure without detail")
		}
	default:
		t.Errorf("run.outcome is %v", outcome.Value)
	}
}

// TestInitRefuses: a process that isn't the first of a microVM must touch
// nothing.
func TestInitRefuses(t *testing.T) {
	if _, err := runInit(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "first process of microVMs") {
		t.Errorf("got %v", err)
	}
}
