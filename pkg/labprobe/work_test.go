package labprobe

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var quickWork = []string{"work", "--rounds", "2", "--duration", "1ms"}

// wantWork wants a cost above 0 for each kind of work, but a reason for those
// named.
func wantWork(t *testing.T, set evidence.Set, untestable ...string) {
	t.Helper()
	for _, k := range workKinds {
		reason, hasReason := set.Get(k.name + ".untestable")
		cost, hasCost := set.Get(k.name + ".cost")
		want := false
		for _, u := range untestable {
			want = want || u == k.name
		}
		switch {
		case want && (!hasReason || hasCost || reason.Value == ""):
			t.Errorf("%s: want it untestable with a reason, got cost %v, reason %v", k.name, cost.Value, reason.Value)
		case !want && (hasReason || !hasCost || cost.Value.(float64) <= 0):
			t.Errorf("%s: want a cost, got %v, reason %v", k.name, cost.Value, reason.Value)
		}
	}
}

func TestWork(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	wantWork(t, runCommand(t, quickWork...))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Without a place for files the rest is still measured.
func TestWorkWithoutFiles(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()+"/nosuch")
	wantWork(t, runCommand(t, quickWork...), "pread", "write", "read")
}

func TestWorkUsage(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--duration", "0s"}, {"--duration", "1h"}, {"x"}} {
		if _, err := workOutputs(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}

// A module has no system calls, and files where its host grants some.
func TestWorkInWASI(t *testing.T) {
	w, err := loadWASM()
	if err != nil {
		t.Fatalf("labprobe for wasip1: %v", err)
	}
	for _, c := range []struct {
		name       string
		files      wazero.FSConfig
		untestable string
	}{
		{"files granted", wazero.NewFSConfig().WithDirMount(t.TempDir(), "/tmp"), "syscall"},
		{"read-only", wazero.NewFSConfig().WithReadOnlyDirMount(t.TempDir(), "/tmp"), "syscall pread write read"},
		{"no files", wazero.NewFSConfig(), "syscall pread write read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout bytes.Buffer
			config := wazero.NewModuleConfig().WithArgs(append([]string{"labprobe.wasm"}, quickWork...)...).
				WithStdout(&stdout).WithFSConfig(c.files).WithSysNanotime().WithSysWalltime().WithName("")
			m, err := w.InstantiateModule(t.Context(), w.labprobe, config)
			if m != nil {
				defer func() { _ = m.Close(t.Context()) }() // has ended
			}
			var exit *sys.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			report, err := Parse(stdout.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			set, err := report.Result()
			if err != nil {
				t.Fatal(err)
			}
			wantWork(t, set, strings.Fields(c.untestable)...)
		})
	}
}
