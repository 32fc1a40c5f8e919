package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// local runs on this machine, with the folder of files moved into another.
type local struct{ root string }

func (local) Name() string     { return "docker" }
func (local) Labprobe() string { return "/nonexistent/labprobe" }

func (l local) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "/var/lib/labctl/files", l.root)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return probe.Exit{}, err
	}
	return probe.Exit{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}

const outputs = `"outputs":[{"name":"v","type":"string"}]`

func TestNew(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"whole", `{"script":"evidence v 1","files":["docker/a.yaml"],"timeout":"30s","exclusive":true,` + outputs + `}`, ""},
		{"no script", `{` + outputs + `}`, "script: is empty"},
		{"no outputs", `{"script":"true"}`, "outputs: a script declares"},
		{"unknown field", `{"script":"true","node":"worker",` + outputs + `}`, `unknown field "node"`},
		{"no time", `{"script":"true","timeout":"1ms",` + outputs + `}`, "less than 1s"},
		{"file outside", `{"script":"true","files":["../a.yaml"],` + outputs + `}`, "no path below"},
		{"file twice", `{"script":"true","files":["a.yaml","a.yaml"],` + outputs + `}`, "comes twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := New([]byte(c.params))
			switch {
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want %q", err, c.err)
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err == "" && (!p.Exclusive() || p.timeout != 30*time.Second || len(p.Outputs()) != 1):
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestRun(t *testing.T) {
	manifests := fstest.MapFS{"docker/a.yaml": {Data: []byte("content of a")}}
	for _, c := range []struct{ name, script, files, want, err string }{
		{name: "names of images", script: `evidence v "$IMAGE $SHELL_IMAGE"`, want: "labctl/labprobe labctl/shell"},
		{name: "a file", script: `evidence v "$(cat "$FILES/docker/a.yaml")"`, files: `["docker/a.yaml"]`, want: "content of a"},
		{name: "no such file", script: `evidence v 1`, files: `["docker/b.yaml"]`, err: "docker/b.yaml"},
		{name: "no evidence", script: `true`, err: "v is declared and didn't come"},
		{name: "fails", script: `echo why >&2; exit 3`, err: "exit code 3"},
		{name: "untestable", script: `untestable "no such driver"`, err: "untestable here: no such driver"},
	} {
		t.Run(c.name, func(t *testing.T) {
			params := `{"script":` + quote(c.script) + `,` + outputs
			if c.files != "" {
				params += `,"files":` + c.files
			}
			p, err := New([]byte(params + "}"))
			if err != nil {
				t.Fatal(err)
			}
			env := probe.Environment{Docker: local{t.TempDir()}, Manifests: manifests}
			for range 2 { // files that are there already are as good
				set, err := p.Run(t.Context(), env)
				if c.err != "" {
					if err == nil || !strings.Contains(err.Error(), c.err) {
						t.Errorf("error %v, want %q", err, c.err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if v, _ := set.Get("v"); v.Value != c.want || v.Source.Where != "docker" {
					t.Errorf("%+v, want %q", v, c.want)
				}
			}
		})
	}
}

func TestRunWithoutDocker(t *testing.T) {
	p, err := New([]byte(`{"script":"evidence v 1",` + outputs + `}`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Run(t.Context(), probe.Environment{})
	var untestable *evidence.Untestable
	if !errors.As(err, &untestable) {
		t.Errorf("error %v", err)
	}
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
