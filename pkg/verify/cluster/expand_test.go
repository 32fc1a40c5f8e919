package cluster

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// names of a scenario with one other namespace, after a step called s.
func testNames() Names {
	return values(evidence.Set{
		{Name: "s.n", Type: evidence.Int, Value: int64(3)},
		{Name: "s.ratio", Type: evidence.Double, Value: 0.5},
		{Name: "s.yes", Type: evidence.Bool, Value: true},
		{Name: "s.after", Type: evidence.Duration, Value: 1500 * time.Millisecond},
		{Name: "s.list", Type: evidence.List, Value: []string{"a", "b"}},
		{Name: "s.text", Type: evidence.String, Value: `it's "so"\`},
	}, surroundings(nil, "ns", []string{"b"}))
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"${NAMESPACE}/${NAMESPACE.b}":  "ns/ns-b",
		"a ${s.n} b ${s.yes}":          "a 3 b true",
		"${s.after} ${s.list}":         "1.5s a\nb",
		"$${HOME} $$ $HOME ${s.ratio}": "${HOME} $$ $HOME 0.5",
		"${CLASS.gvisor} ${IMAGE.opa}": "gvisor image",
	} {
		if got, err := testNames().Text(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${HOME}":        "${HOME}: is no name that is known here",
		"${NAMESPACE.c}": `others has no "c"`,
		"${s.gone}":      "${s.gone}: is no name",
		"${CLASS.kata}":  "${CLASS.kata}: is no name",
		"${NODE.x}":      "is no node",
		"${IMAGE.A/B}":   "is no name",
		"${}":            "${}: is no name",
		"a ${ b":         "a ${ without its }",
		"${s.n":          "a ${ without its }",
	} {
		if got, err := testNames().Text(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v; want an error with %q", in, got, err, want)
		}
	}
}

// TestTree wants texts that are one value to take its type, and keys and the
// rest to be filled in too.
func TestTree(t *testing.T) {
	in := map[string]any{
		"replicas": "${s.n}", "ratio": "${s.ratio}", "on": "${s.yes}", "text": "n=${s.n}", "after": "${s.after}",
		"${NAMESPACE}": []any{"${IMAGE}", int64(1), nil, "$${s.n}"},
	}
	want := map[string]any{
		"replicas": int64(3), "ratio": 0.5, "on": true, "text": "n=3", "after": "1.5s",
		"ns": []any{"image", int64(1), nil, "${s.n}"},
	}
	got, err := testNames().Tree(in)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v, %v\nwant %v", got, err, want)
	}
	if in["replicas"] != "${s.n}" {
		t.Error("the original was changed")
	}
	if _, err := testNames().Tree([]any{map[string]any{"a": "${b}"}}); err == nil {
		t.Error("an unknown name is no error")
	}
}

// TestExpressionQuotes wants a value to stay within the quotes that it is
// written between.
func TestExpressionQuotes(t *testing.T) {
	text, err := testNames().Expression(`object.name == '${s.text}' && object.other == "${s.text}"`)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Compile(text, evidence.Bool, true)
	if err != nil {
		t.Fatal(err)
	}
	met, err := e.Holds(t.Context(), Objects{One: true, Items: []map[string]any{{"name": `it's "so"\`, "other": `it's "so"\`}}})
	if err != nil || !met {
		t.Errorf("%s: %v %v", text, met, err)
	}
}

// TestWhatIsMissing wants what a cluster lacks to be untestable, with what it
// lacks.
func TestWhatIsMissing(t *testing.T) {
	env := probe.Environment{Cluster: small{}, Images: map[string]string{"opa": "localhost/labctl/opa:1"}}
	names := surroundings(&env, "ns", nil)
	for in, want := range map[string]string{"${IMAGE.opa}": "localhost/labctl/opa:1", "${NODE}": "one", "${NODE.0}": "one", "${CLASS.runc}": "runc", "${IMAGE}": "labprobe-runc", "${WASM_IMAGE}": "labprobe-wasmedge"} {
		if got, err := names.Text(in); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${IMAGE.pause}":  "add-on that brings the image pause",
		"${NODE.1}":       "has 1 nodes; this needs 2",
		"${CLASS.gvisor}": "no RuntimeClass for gvisor",
	} {
		_, err := names.Text(in)
		var untestable *evidence.Untestable
		if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, want) {
			t.Errorf("%s: %v, want untestable with %q", in, err, want)
		}
	}
}

// small is a cluster of one node with one runtime.
type small struct{ probe.Cluster }

func (small) Nodes() []string                         { return []string{"one"} }
func (small) RuntimeClass(name string) (string, bool) { return name, name == "runc" }
func (small) ProbeImage(runtime string) string        { return "labprobe-" + runtime }
