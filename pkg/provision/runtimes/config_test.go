package runtimes

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The inputs: kind.toml is kind 0.33's own file (version 2), v3.toml one of
// version 3 without a runc handler.
func TestConfigure(t *testing.T) {
	for _, name := range []string{"kind", "v3"} {
		t.Run(name, func(t *testing.T) {
			got, err := Configure(read(t, name+".toml"))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden.toml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := read(t, name+".golden.toml"); !bytes.Equal(got, want) {
				t.Errorf("differs from %s:\n%s", golden, got)
			}
			again, err := Configure(got)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again, got) {
				t.Errorf("configured twice it differs:\n%s", again)
			}
			handlers, err := ReadBack(got)
			if err != nil {
				t.Fatal(err)
			}
			if err := CheckHandlers(handlers, own); err != nil {
				t.Error(err)
			}
		})
	}
}

// The lines that kind's entrypoint and labctl-runtime-setup edit with sed.
func TestConfigureKeepsEditableLines(t *testing.T) {
	got, err := Configure(read(t, "kind.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`restrict_oom_score_adj = false`, `snapshotter = "overlayfs"`} {
		if n := len(regexp.MustCompile(`(?m)^ *`+line+`$`).FindAll(got, -1)); n != 1 {
			t.Errorf("%d lines are %q, want 1", n, line)
		}
	}
}

func TestConfigureRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"not TOML":         {"version = ", "doesn't parse"},
		"no version":       {"root = '/x'", "`version`"},
		"version 1":        {"version = 1", "config migrate"},
		"a foreign runc":   {"version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\nruntime_type='io.containerd.kata.v2'", "io.containerd.kata.v2"},
		"plugins no table": {"version = 2\nplugins = 3", "plugins is no table"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Configure([]byte(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
