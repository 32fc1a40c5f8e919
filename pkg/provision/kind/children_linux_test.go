package kind

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	kindexec "sigs.k8s.io/kind/pkg/exec"
)

func TestIsChild(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       bool
	}{
		{"kind's", "77 (podman) S 10 20 20 0 -1", true},
		{"another parent's", "77 (podman) S 11 20 20 0 -1", false},
		{"one of package process, in its own group", "77 (podman) S 10 77 20 0 -1", false},
		{"another program", "77 (sh) S 10 20 20 0 -1", false},
		{"a hostile name", "77 (podman) S 10 20) S 1 1 1", false},
		{"cut off", "77 (podman", false},
		{"empty", "", false},
	} {
		if pid, ok := isChild(c.stat, "podman", 10, 20); ok != c.want || ok && pid != 77 {
			t.Errorf("%s: %d %v", c.name, pid, ok)
		}
	}
}

// kind starts programs in this process's group, which is what tells them apart.
func TestEndChildrenEndsWhatKindStarts(t *testing.T) {
	ended := make(chan error, 1)
	go func() { ended <- kindexec.Command("sleep", "1000").Run() }()
	other := exec.Command("sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("another's child was ended: %v", err)
		}
		_ = other.Process.Kill()
		_ = other.Wait() // it was killed
	}()
	if err := abandon(ended, "sleep"); err == nil {
		t.Error("kind's child wasn't ended in time")
	} else if run := kindexec.RunErrorForError(err); run == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}
