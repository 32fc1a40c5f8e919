package engine

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func TestExitProgram(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := exitProgram(arch, trialCode)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(program)) {
			t.Errorf("%s: %+v", arch, f.FileHeader)
		}
		if runtime.GOOS != "linux" || runtime.GOARCH != arch {
			continue // only the form can be checked here
		}
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := exec.Command(path).Run(); !errors.As(err, &exit) || exit.ExitCode() != trialCode {
			t.Errorf("%s: %v", arch, err)
		}
	}
	if _, err := exitProgram("riscv64", 0); err == nil {
		t.Error("no error for an unknown architecture")
	}
}
