package guide

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// said is a place where every command says the same.
type said struct {
	exit probe.Exit
	err  error
	argv *string
}

func (said) Name() string     { return "docker" }
func (said) Labprobe() string { return "" }

func (s said) Run(_ context.Context, _ io.Reader, argv ...string) (probe.Exit, error) {
	*s.argv = strings.Join(argv, " ")
	return s.exit, s.err
}

func TestDocker(t *testing.T) {
	hint := lab.Text{EN: "hint", ZH: "提示"}
	check := &lab.Check{Kind: "container", Name: "web", For: "object != null && object.State.Running && object.HostConfig.Memory == 67108864", Hint: hint}
	for _, c := range []struct {
		name string
		said *said
		want State
		err  string
	}{
		{"no Docker", nil, Open, ""},
		{"runs", &said{exit: probe.Exit{Stdout: []byte(`[{"State":{"Running":true},"HostConfig":{"Memory":67108864}}]`)}}, Done, ""},
		{"ended", &said{exit: probe.Exit{Stdout: []byte(`[{"State":{"Running":false}}]`)}}, Open, ""},
		{"not there", &said{exit: probe.Exit{Code: 1, Stdout: []byte("[]"), Stderr: []byte("Error: No such container: web")}}, Open, ""},
		{"no daemon", &said{exit: probe.Exit{Code: 1, Stderr: []byte("Cannot connect to the Docker daemon")}}, "", "Cannot connect"},
		{"no JSON", &said{exit: probe.Exit{Stdout: []byte("{")}}, "", "docker inspect"},
		{"no container", &said{err: errors.New("is not running")}, "", "is not running"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var at Docker
			argv := ""
			if c.said != nil {
				c.said.argv = &argv
				at.Place = *c.said
			}
			s, err := LookAt(t.Context(), []lab.Step{{Check: check}}, 0, at)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || s.State != c.want {
				t.Errorf("%+v %v, want %s", s, err, c.want)
			}
			if c.said != nil && argv != "docker inspect --type container web" {
				t.Errorf("%s", argv)
			}
		})
	}
}
