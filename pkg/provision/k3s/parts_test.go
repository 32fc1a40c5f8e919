package k3s

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// folder makes a folder of programs with SHA256SUMS.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	sums := ""
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(text)), name)
	}
	if err := os.WriteFile(filepath.Join(dir, "SHA256SUMS"), []byte(sums), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRuntimeFiles are programs of the user's in place of packages, on a box
// that has no apt.
func TestRuntimeFiles(t *testing.T) {
	const wasm = "+SYSTEMD +WASM:wasmedge"
	for name, c := range map[string]struct {
		files map[string]string
		has   []string // handlers of labctl's
		want  string   // of the error
	}{
		"everything":      {map[string]string{"crun": wasm, "runsc": "r", runscShim: "s"}, []string{"gvisor", "wasmedge"}, ""},
		"runwasi's shim":  {map[string]string{runwasiShim: "w", "runsc": "r", runscShim: "s"}, []string{"gvisor"}, ""},
		"no shim":         {map[string]string{"crun": wasm, "runsc": "r"}, []string{"gvisor", "wasmedge"}, ""},
		"no crun":         {map[string]string{"runsc": "r", runscShim: "s"}, nil, "there is no crun"},
		"no runsc":        {map[string]string{"crun": wasm, runscShim: "s"}, nil, "there is no runsc"},
		"crun without it": {map[string]string{"crun": "+SYSTEMD", "runsc": "r", runscShim: "s"}, nil, "is built without WasmEdge"},
		"a library":       {map[string]string{"crun": wasm, "runsc": "r", "libwasmedge.so.0": "l"}, nil, "is a library"},
		"nothing":         {map[string]string{"LICENSE": "l"}, nil, "there is no runsc"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			b := newFakeBox(t, imports+base3).withK3s()
			b.write(busSocket, "", 0o666)
			before := b.snapshot()
			b.fail = "dpkg" // and no apt
			dir := folder(t, c.files)
			p := b.provider(func(o *Options) { o.RuntimeFiles = dir })
			_, err := p.Up(ctx, spec(t), newLogged())
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("got %v, want it to say %q", err, c.want)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			for _, handler := range c.has {
				if !strings.Contains(b.read(dropIn), "'"+handler+"'") {
					t.Errorf("no %s in %s", handler, b.read(dropIn))
				}
			}
			if c.want == "" && b.read("/usr/local/bin/runsc") != "r" {
				t.Errorf("runsc is %q", b.read("/usr/local/bin/runsc"))
			}
			if c.want == "" && c.files[runwasiShim] != "" && !strings.Contains(b.read(rendered), "wasmedge") {
				t.Errorf("K3s wasn't restarted for runwasi's shim:\n%s", b.read(rendered))
			}
			if err := p.Down(ctx, "lab", progress.Discard); err != nil {
				t.Fatal(err)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestDamagedRuntimeFiles is a program that isn't what SHA256SUMS says.
func TestDamagedRuntimeFiles(t *testing.T) {
	b := newFakeBox(t, base3).withK3s()
	dir := folder(t, map[string]string{"runsc": "r"})
	if err := os.WriteFile(filepath.Join(dir, "runsc"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	before := b.snapshot()
	_, err := b.provider(func(o *Options) { o.RuntimeFiles = dir }).Up(t.Context(), spec(t), newLogged())
	if err == nil || !strings.Contains(err.Error(), "runsc") {
		t.Errorf("got %v", err)
	}
	if after := b.snapshot(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestSettings(t *testing.T) {
	add := "disable:\n- traefik\n- servicelb\n- metrics-server\n"
	for name, c := range map[string]struct {
		f    facts
		want string
	}{
		"cgroup v2":              {facts{version: version.MustParseGeneric("1.35.0")}, add},
		"cgroup v1":              {facts{cgroupV1: true, version: version.MustParseGeneric("1.34.9")}, add},
		"cgroup v1, 1.35":        {facts{cgroupV1: true, version: version.MustParseGeneric("1.35.0")}, add + "kubelet-arg:\n- fail-cgroupv1=false\n"},
		"cgroup v1, not known":   {facts{cgroupV1: true}, add + "kubelet-arg:\n- fail-cgroupv1=false\n"},
		"beside the user's own":  {facts{cgroupV1: true, settings: map[string]bool{"kubelet-arg": true}}, add + "kubelet-arg+:\n- fail-cgroupv1=false\n"},
		"others of the user's":   {facts{settings: map[string]bool{"node-name": true}}, add},
		"the user disables some": {facts{settings: map[string]bool{"disable": true}}, strings.Replace(add, "disable:", "disable+:", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(settingsFile(c.f)); !strings.HasSuffix(got, "K3s.\n"+c.want) {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestListener(t *testing.T) {
	b := newFakeBox(t, base3)
	head := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	b.write("/proc/net/tcp", head+
		"   0: 0100007F:192B 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n", 0o644)
	if got := listener(b.m, apiPort); got != "" {
		t.Errorf("a connection is taken for a listener: %q", got)
	}
	b.write("/proc/net/tcp6", head+
		"   0: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n", 0o644)
	b.write("/proc/77/comm", "etcd\n", 0o444)
	if err := os.MkdirAll(b.m.Path("/proc/77/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[4711]", b.m.Path("/proc/77/fd/3")); err != nil {
		t.Fatal(err)
	}
	if got := listener(b.m, apiPort); got != "etcd (pid 77)" {
		t.Errorf("got %q", got)
	}
}

// TestElsewhere is a node of K3s that is another machine.
func TestElsewhere(t *testing.T) {
	ctx := context.Background()
	b := newFakeBox(t, imports+base3).withK3s()
	c, err := b.provider().Up(ctx, spec(t), newLogged())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Node("far").Run(ctx, nil, "true")
	var untestable *evidence.Untestable
	if !errors.As(err, &untestable) || !strings.Contains(err.Error(), "node far is another machine") {
		t.Errorf("got %v", err)
	}
	if _, err := c.ContainerdConfig(ctx, "far"); err == nil {
		t.Error("the configuration of another machine was read")
	}
	if dump, err := c.ContainerdConfig(ctx, "box"); err != nil || !strings.Contains(string(dump), "runtimes.runc") {
		t.Errorf("%s, %v", dump, err)
	}
	if log, err := c.ContainerdLog(ctx, "box"); err != nil || !strings.Contains(log, "successfully booted") {
		t.Errorf("%q, %v", log, err)
	}
}
