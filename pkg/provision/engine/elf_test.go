package engine

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

func TestSayProgram(t *testing.T) {
	const text = "some text\n"
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := sayProgram(arch, text)
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
		path := filepath.Join(t.TempDir(), "say")
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path)
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != text {
			t.Errorf("%s printed %q, %v", arch, out, err)
		}
	}
	if _, err := sayProgram("riscv64", text); err == nil {
		t.Error("no error for an unknown architecture")
	}
}
