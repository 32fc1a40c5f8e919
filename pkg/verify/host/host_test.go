package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/host"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

func TestNewRefuses(t *testing.T) {
	cases := []struct{ params, want string }{
		{`{}`, "want a command"},
		{`{"labprobe": []}`, "want a command"},
		{`{"labprobe": ["hello"], "node": "x"}`, `unknown field "node"`},
		{`{"labprobe": "hello"}`, "parameters of a host probe"},
		{`{"labprobe": ["no-such"]}`, `unknown labprobe command "no-such"`},
		{`{"labprobe": ["kernel-log"]}`, "kernel-log wants --match TEXT"},
		{``, "parameters of a host probe"},
	}
	for _, c := range cases {
		t.Run(c.params, func(t *testing.T) {
			if _, err := host.Kind().New([]byte(c.params)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRun(t *testing.T) {
	p, err := host.Kind().New([]byte(`{"labprobe": ["hello", "to", "you"]}`))
	if err != nil {
		t.Fatal(err)
	}
	set, err := p.Run(t.Context(), probe.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := set.Get("hello")
	if !ok || v.Value != "to you" || v.Source.Where != "host" {
		t.Errorf("got %+v", set)
	}
	if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == "hello" }) {
		t.Errorf("hello is not declared: %+v", p.Outputs())
	}
}
