package labprobe

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

// wasm is a WebAssembly runtime and labprobe compiled in it, once for all
// tests.
type wasm struct {
	wazero.Runtime
	labprobe wazero.CompiledModule
}

var loadWASM = sync.OnceValues(func() (wasm, error) {
	dir, err := os.MkdirTemp("", "labprobe-test-")
	if err != nil {
		return wasm{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "labprobe.wasm")
	cmd := exec.Command("go", "build", "-o", file, "github.com/isolation-stack/labctl/cmd/labprobe")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return wasm{}, errors.Join(errors.New(string(out)), err)
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return wasm{}, err
	}
	ctx := context.Background()
	// The interpreter starts sooner than the compiler has compiled.
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, runtime); err != nil {
		return wasm{}, err
	}
	compiled, err := runtime.CompileModule(ctx, binary)
	return wasm{runtime, compiled}, err
})

// inWASI runs labprobe's module in a runtime that grants the directories
// (guest path to host path), and returns its report and exit code.
func inWASI(t *testing.T, dirs map[string]string, args ...string) (Report, uint32) {
	t.Helper()
	w, err := loadWASM()
	if err != nil {
		t.Fatalf("labprobe for wasip1: %v", err)
	}
	grants := wazero.NewFSConfig()
	for guest, host := range dirs {
		grants = grants.WithReadOnlyDirMount(host, guest)
	}
	var stdout bytes.Buffer
	config := wazero.NewModuleConfig().WithArgs(append([]string{"labprobe.wasm"}, args...)...).
		WithStdout(&stdout).WithFSConfig(grants).WithSysNanotime().WithSysWalltime().WithSysNanosleep().WithName("")
	m, err := w.InstantiateModule(t.Context(), w.labprobe, config)
	if m != nil {
		defer func() { _ = m.Close(t.Context()) }() // has ended
	}
	var exit *sys.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("labprobe.wasm %q: %v", args, err)
	}
	report, err := Parse(stdout.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	code := uint32(0)
	if exit != nil {
		code = exit.ExitCode()
	}
	return report, code
}

func TestWASIGrants(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("granted"), 0o600); err != nil {
		t.Fatal(err)
	}
	always := map[string]any{"go.os": "wasip1", "socket.available": false, "exec.available": false, "escape.denied": true}
	for _, c := range []struct {
		name string
		dirs map[string]string
		open string
		want map[string]any
	}{
		{"nothing", nil, "/data/file", map[string]any{"preopens.count": int64(0), "open.denied": true}},
		{"a directory", map[string]string{"/data": dir}, "/data/file", map[string]any{"preopens": []string{"/data"}, "open.denied": false, "open.errno": ""}},
		{"the root", map[string]string{"/": dir}, "/file", map[string]any{"preopens": []string{"/"}, "open.denied": false}},
		{"a missing file", map[string]string{"/data": dir}, "/data/nosuch", map[string]any{"open.denied": true, "open.errno": "ENOENT"}},
		{"outside", map[string]string{"/data": dir}, "/etc/passwd", map[string]any{"open.denied": true}},
		{"a name that only begins alike", map[string]string{"/data": dir}, "/data2/file", map[string]any{"open.denied": true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, code := inWASI(t, c.dirs, "wasi", "--open", c.open)
			if code != 0 || report.Error != "" {
				t.Fatalf("exit code %d, %s", code, report.Error)
			}
			check(t, report.Evidence, always, nil)
			check(t, report.Evidence, c.want, nil)
		})
	}
}

func TestWASIFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("granted"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, _ := inWASI(t, map[string]string{"/data": dir}, "files", "--inside", "/data/file", "--outside", "/etc/passwd")
	check(t, report.Evidence, map[string]any{
		"inside.readable": true, "inside.content": "granted", "outside.readable": false, "outside.content": "",
	}, nil)
}

func TestWASIIdentity(t *testing.T) {
	t.Run("without files", func(t *testing.T) {
		report, _ := inWASI(t, nil, "identity")
		check(t, report.Evidence, map[string]any{"go.os": "wasip1", "go.arch": "wasm"}, []string{"kernel.release", "pid", "proc.count", "hostname"})
	})
	t.Run("with /proc", func(t *testing.T) {
		dir := t.TempDir()
		proc := filepath.Join(dir, "proc", "sys", "kernel")
		if err := os.MkdirAll(proc, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "proc", "version"), []byte("Linux version 6.1\n"), 0o600),
			os.MkdirAll(filepath.Join(dir, "proc", "7"), 0o700),
			os.WriteFile(filepath.Join(dir, "proc", "7", "comm"), []byte("wasmedge\n"), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		report, _ := inWASI(t, map[string]string{"/": dir}, "identity")
		check(t, report.Evidence, map[string]any{
			"kernel.proc_version": "Linux version 6.1", "proc.count": int64(1), "proc.comms": []string{"wasmedge"},
		}, []string{"kernel.release"})
	})
}

func TestWASICommands(t *testing.T) {
	if report, code := inWASI(t, nil, "exit", "7"); code != 7 || report.Error != "" {
		t.Errorf("exit 7: code %d, %+v", code, report)
	}
	if report, code := inWASI(t, nil, "exit", "256"); code != 1 || report.Error == "" {
		t.Errorf("exit 256: code %d, %+v", code, report)
	}
	if report, code := inWASI(t, nil, "cpu", "--rounds", "1", "--duration", "1ms"); code != 0 || len(report.Evidence) == 0 {
		t.Errorf("cpu: code %d, %+v", code, report)
	}
	// What WASI can't have is untestable there, and says so.
	for _, args := range [][]string{{"syscalls"}, {"privileges"}, {"fork"}, {"seccomp", "kill", "mount"}, {"measure", "--", "true"}, {"cgroup"}, {"processes", "--pid", "1"}, {"throttle"}, {"syscall-bench"}} {
		if report, code := inWASI(t, nil, args...); code != 0 || report.Untestable == "" {
			t.Errorf("%q: code %d, %+v", args, code, report)
		}
	}
}

func TestEmptyModuleRuns(t *testing.T) {
	ctx := t.Context()
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = runtime.Close(ctx) }()
	m, err := runtime.Instantiate(ctx, emptyModule)
	if err != nil {
		t.Fatal(err)
	}
	if m.ExportedFunction("_start") == nil {
		t.Error("no function _start")
	}
}
