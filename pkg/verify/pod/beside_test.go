package pod

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func TestBesideParameters(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"right", `{"runtime":"runc","labprobe":["hello"],"observe":true,"beside":["sockets","--port","80","--pid","{pid}"]}`, ""},
		{"no Pod to be beside of", `{"runtime":"runc","labprobe":["hello"],"beside":["hello"]}`, "observe"},
		{"unknown command", `{"runtime":"runc","labprobe":["hello"],"observe":true,"beside":["socket"]}`, `beside: unknown labprobe command "socket"`},
		{"wrong arguments", `{"runtime":"runc","labprobe":["hello"],"observe":true,"beside":["sockets","--port","0"]}`, "beside: sockets"},
		{"empty", `{"runtime":"runc","labprobe":["hello"],"observe":true,"beside":[]}`, "beside: is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := New([]byte(c.params))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one that contains %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == "beside.listening" }) {
				t.Errorf("beside.listening isn't declared: %v", p.Outputs())
			}
		})
	}
}

// heard is a place that keeps what it was asked for.
type heard struct {
	argv   []string
	answer probe.Exit
}

func (*heard) Name() string     { return "node/one" }
func (*heard) Labprobe() string { return "/labprobe" }
func (h *heard) Run(_ context.Context, _ io.Reader, argv ...string) (probe.Exit, error) {
	h.argv = argv
	return h.answer, nil
}

func TestBesideRunsOnTheNode(t *testing.T) {
	p := mustNew(t, `{"runtime":"runc","labprobe":["hello"],"observe":true,"beside":["sockets","--port","80","--pid","{pid}"]}`)
	for _, c := range []struct{ name, stdout, err string }{
		{"report", `{"labprobe":"v1","command":"sockets","evidence":[{"name":"listening","type":"int","value":1,"source":{"kind":"file","ref":"x"}}]}`, ""},
		{"untestable", `{"labprobe":"v1","command":"sockets","untestable":"no root"}`, "no root"},
		{"broken", `{"labprobe":"v1","command":"sockets","error":"no such process"}`, "on node/one: labprobe sockets: no such process"},
		{"no report", "sh: not found", "exit code 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := &heard{answer: probe.Exit{Stdout: []byte(c.stdout)}}
			set, err := p.beside[0](context.Background(), fake.NewClientset(), Standing{PID: 4711, Node: place})
			if got := strings.Join(place.argv, " "); got != "/labprobe sockets --port 80 --pid 4711" {
				t.Errorf("ran %q", got)
			}
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one that contains %q", err, c.err)
				}
				return
			}
			v, ok := set.Get("beside.listening")
			if err != nil || !ok || v.Source.Where != "node/one" {
				t.Errorf("got %v %v", set, err)
			}
		})
	}
}
