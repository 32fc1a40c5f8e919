package pod

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func TestNewPair(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"least", `{"server":"gvisor"}`, ""},
		{"whole", `{"server":"gvisor","client":"runc","serverClass":"x","n":10,"rounds":2,"bytes":1024,"timeout":"1m"}`, ""},
		{"nothing", `{}`, `server: ""`},
		{"unknown client", `{"server":"runc","client":"kata"}`, `client: "kata"`},
		{"unknown field", `{"server":"runc","port":1}`, `"port"`},
		{"negative", `{"server":"runc","n":-1}`, "negative"},
		{"no time", `{"server":"runc","timeout":"1ms"}`, "timeout:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := PairKind.New([]byte(c.params))
			wantError(t, c.err, err)
		})
	}
}

func TestPairOutputs(t *testing.T) {
	p, err := NewPair([]byte(`{"server":"gvisor","n":10,"bytes":1024}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"rr.p50", "throughput", "sockets", "listening"} {
		if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == name }) {
			t.Errorf("no %s", name)
		}
	}
	if !p.Exclusive() {
		t.Error("it measures time and isn't exclusive")
	}
	if got, want := strings.Join(p.dial("fd00::1"), " "), "tcp-dial --n 10 --bytes 1024 [fd00::1]:9000"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// scripted answers the commands of socketsOf.
type scripted struct {
	side   string
	inside bool
}

func (scripted) Name() string     { return "node/one" }
func (scripted) Labprobe() string { return "/labprobe" }
func (s scripted) Run(_ context.Context, _ io.Reader, argv ...string) (probe.Exit, error) {
	switch {
	case slices.Contains(argv, sideScript):
		return probe.Exit{Stdout: []byte(s.side)}, nil
	case slices.Contains(argv, sameNetwork) && !s.inside:
		return probe.Exit{Code: 1}, nil
	case argv[0] == "/labprobe":
		return probe.Exit{Stdout: []byte(`{"labprobe":"v1","command":"sockets","evidence":[{"name":"sockets","type":"int","value":2,"source":{"kind":"file","ref":"x"}}]}`)}, nil
	}
	return probe.Exit{}, nil
}

// A process outside of the Pod's network namespace shows nothing about its
// sockets.
func TestSocketsOf(t *testing.T) {
	for _, c := range []struct {
		name   string
		inside bool
		err    string
	}{
		{"inside", true, ""},
		{"outside", false, "process 440 is not in the Pod's network namespace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &running{life: life{pod: snapshot(corev1.PodRunning, isRunning, isReady)}}
			place := scripted{side: readFixture(t, "runc"), inside: c.inside}
			set, err := socketsOf(context.Background(), cluster{place}, pod)
			wantError(t, c.err, err)
			if c.err == "" {
				wantValues(t, set, map[string]any{"sockets": int64(2)})
			}
		})
	}
}
