package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// box answers what a node is asked.
type box struct {
	facts string
	loop  float64 // best, ns/op
	rest  string
	err   error
	code  int
}

func (box) Name() string     { return "node/one" }
func (box) Labprobe() string { return "/labprobe" }
func (b box) Run(_ context.Context, _ io.Reader, argv ...string) (probe.Exit, error) {
	if b.err != nil || b.code != 0 {
		return probe.Exit{Code: b.code, Stderr: []byte("no such file")}, b.err
	}
	out := b.facts
	switch {
	case slices.Contains(argv, "hardware"):
		out = `{"labprobe":"v1","command":"hardware","evidence":[{"name":"cpu.model","type":"string","value":"A CPU","source":{"kind":"file","ref":"x"}}]}`
	case slices.Contains(argv, "cpu"):
		out = fmt.Sprintf(`{"labprobe":"v1","command":"cpu","evidence":[{"name":"cost.min","type":"double","value":%v,"source":{"kind":"clock","ref":"x"}},{"name":"rate.p50","type":"double","value":%v,"source":{"kind":"clock","ref":"x"}}]}`, b.loop, 1e9/(b.loop*1.02))
	case slices.Contains(argv, compare.RestScript):
		out = b.rest
	}
	return probe.Exit{Stdout: []byte(out)}, nil
}

var quietBox = box{
	facts: "x86_64\n6.18.0\n2\n6291456\n4096\n", loop: 3,
	rest: "0.5 0.6 0.7 1/2 3\ncpu 0 0 0 100 0 0 0 0\ncpu 1 0 0 199 0 0 0 0\n",
}

func TestNodeWatch(t *testing.T) {
	b := quietBox
	w, err := lookAt(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.loop = 3.9 // it became slower
	w.place = b
	if err := w.read(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, err := w.end(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n.Name != "one" || n.CPU != "A CPU" || n.CPUs != 2 || n.Memory != 24<<30 || n.Arch != "x86_64" || n.Kernel != "6.18.0" || n.Hypervisor != "" {
		t.Errorf("%+v", n)
	}
	if n.Loop.Best != 3 || len(n.Loop.Medians) != 2 || !n.Noisy {
		t.Errorf("%+v, noisy %v", n.Loop, n.Noisy)
	}
}

func TestNodeWatchFails(t *testing.T) {
	for name, change := range map[string]func(*box){
		"out of reach":   func(b *box) { b.err = errors.New("no route") },
		"a command ends": func(b *box) { b.code = 127 },
		"no numbers":     func(b *box) { b.facts = "x86_64 6.18.0 two 1 1" },
		"too little":     func(b *box) { b.facts = "x86_64" },
		"no load":        func(b *box) { b.rest = "" },
	} {
		b := quietBox
		change(&b)
		if _, err := lookAt(t.Context(), b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	b := quietBox
	b.loop = -1
	if err := (&nodeWatch{place: b}).read(t.Context()); err == nil || !strings.Contains(err.Error(), "no times") {
		t.Errorf("a loop without times: %v", err)
	}
}

// The family pod must take the parameters, for every runtime.
func TestParams(t *testing.T) {
	for _, s := range []compare.Subject{
		{Name: "runc", Runtime: pod.Runc}, {Name: "gvisor", Runtime: pod.GVisor, Class: "x"}, {Name: "wasmedge", Runtime: pod.WasmEdge},
	} {
		raw, err := params(s, "one")
		if err != nil {
			t.Fatal(err)
		}
		p, err := pod.New(raw)
		if err != nil {
			t.Fatal(err)
		}
		outputs := map[string]bool{}
		for _, o := range p.Outputs() {
			outputs[o.Name] = true
		}
		for _, m := range compare.Metrics() {
			name := m.Name
			switch {
			case strings.HasPrefix(name, "memory."):
				name = "node.pss"
			case m.Unit == "ns/op":
				name += ".cost"
			}
			if !outputs[name] {
				t.Errorf("%s: the Pod gives no %s", m.Name, name)
			}
		}
	}
}
