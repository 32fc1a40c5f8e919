package nodeimage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// fake is an engine whose program is a shell script: it writes down how it is
// called, and a rule a command says what it answers.
type fake struct {
	engine *engine.Engine
	dir    string
}

// newFake makes an engine; rules maps a command (the first argument) to shell
// code, in which "$@" are the arguments behind it.
func newFake(t *testing.T, rules map[string]string) fake {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '%s\\n' \"$*\" >>" + dir + "/calls\ncommand=$1; shift\ncase $command in\n"
	for command, code := range rules {
		script += command + ")\n" + code + "\n;;\n"
	}
	script += "esac\n"
	path := filepath.Join(dir, "engine")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return fake{engine: &engine.Engine{Name: engine.Docker, Path: path}, dir: dir}
}

// calls gives the calls that begin with this.
func (f fake) calls(t *testing.T, begin string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, begin) {
			out = append(out, strings.TrimSpace(line))
		}
	}
	return out
}

// testSources are as small as sources can be.
func testSources() gomodule.Sources {
	return gomodule.Sources{Hash: "h", Files: []gomodule.File{
		{Name: "kubernetes/go.mod", Mode: 0o644, Content: []byte("module m\ngo 1.26.0\nrequire k8s.io/kubernetes v1.37.2\n")},
		{Name: "containerd/go.mod", Mode: 0o644, Content: []byte("module m\nrequire github.com/containerd/containerd/v2 v2.4.2\n")},
		{Name: "etcd/go.mod", Mode: 0o644, Content: []byte("module m\nrequire go.etcd.io/etcd/server/v3 v3.7.0\n")},
		{Name: "coredns/go.mod", Mode: 0o644, Content: []byte("module m\nrequire github.com/coredns/coredns v1.14.6\n")},
		{Name: "local-path/go.mod", Mode: 0o644, Content: []byte("module m\nrequire github.com/rancher/local-path-provisioner v0.0.30\n")},
		{Name: "kind/etc/containerd/config.toml", Mode: 0o644, Content: []byte("version = 2\n  sandbox_image = \"r.example.org/pause:3.10\"\n")},
		{Name: "kind/etc/default/kubelet", Mode: 0o644, Content: []byte("replaced\n")},
		{Name: "kind/usr/local/bin/entrypoint", Mode: 0o755, Content: []byte("#!/bin/sh\n")},
	}}
}

func testBuilder(t *testing.T, f fake, o Options) *builder {
	t.Helper()
	pins, err := images.ReadPins()
	if err != nil {
		t.Fatal(err)
	}
	return &builder{
		engine: f.engine, opts: o, pins: pins, src: testSources(), log: progress.Discard,
		cache: artifact.Cache{Dir: t.TempDir()}, patience: 10 * time.Second,
	}
}
