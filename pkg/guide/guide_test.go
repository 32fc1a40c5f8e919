package guide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// fake is a cluster's answers to the looks that are made, the last one again
// and again.
type fake struct {
	answers []cluster.Objects
	err     error
	looks   int
}

func (f *fake) Look(context.Context, *lab.Check) (cluster.Objects, error) {
	f.looks++
	if f.err != nil {
		return cluster.Objects{}, f.err
	}
	return f.answers[min(f.looks, len(f.answers))-1], nil
}

func one(items ...map[string]any) cluster.Objects { return cluster.Objects{One: true, Items: items} }

func list(items ...map[string]any) cluster.Objects { return cluster.Objects{Items: items} }

func phase(p string) map[string]any { return map[string]any{"status": map[string]any{"phase": p}} }

func TestLookAt(t *testing.T) {
	all := ""
	hint := lab.Text{EN: "hint", ZH: "提示"}
	running := &lab.Check{Kind: "Pod", Name: "a", For: "object != null && object.status.phase == 'Running'", Hint: hint}
	three := &lab.Check{Kind: "Pod", Selector: &all, For: "size(objects) == 2 && objects.all(o, o.status.phase == 'Running')", Hint: hint}
	gone := &lab.Check{Kind: "Pod", Name: "a", For: "object == null", Hint: hint}
	for name, c := range map[string]struct {
		check   *lab.Check
		at      fake
		want    State
		because string // part of it
		err     string
	}{
		"no check":                {nil, fake{}, Unchecked, "", ""},
		"met":                     {running, fake{answers: []cluster.Objects{one(phase("Running"))}}, Done, "", ""},
		"not met":                 {running, fake{answers: []cluster.Objects{one(phase("Pending"))}}, Open, "", ""},
		"not there":               {running, fake{answers: []cluster.Objects{one()}}, Open, "", ""},
		"not there, as wanted":    {gone, fake{answers: []cluster.Objects{one()}}, Done, "", ""},
		"there, and not wanted":   {gone, fake{answers: []cluster.Objects{one(phase("Running"))}}, Open, "", ""},
		"without the field":       {running, fake{answers: []cluster.Objects{one(map[string]any{})}}, Open, "no such key: status", ""},
		"all of a list":           {three, fake{answers: []cluster.Objects{list(phase("Running"), phase("Running"))}}, Done, "", ""},
		"one of a list isn't":     {three, fake{answers: []cluster.Objects{list(phase("Running"), phase("Failed"))}}, Open, "", ""},
		"an empty list":           {three, fake{answers: []cluster.Objects{list()}}, Open, "", ""},
		"a kind that isn't known": {running, fake{err: fmt.Errorf("%w Pot", ErrUnknownKind)}, Open, "doesn't know the kind Pot", ""},
		"a cluster that is away":  {running, fake{err: errors.New("connection refused")}, "", "", "the check of step 1: connection refused"},
		"an expression that isn't": {&lab.Check{Kind: "Pod", Name: "a", For: "object.", Hint: hint},
			fake{}, "", "", "the check of step 1: CEL"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := LookAt(t.Context(), []lab.Step{{Check: c.check}}, 0, &c.at)
			if c.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || s.State != c.want || (s.Hint != nil) != (c.want == Open) || !strings.Contains(s.Because, c.because) || (c.because == "") != (s.Because == "") {
				t.Errorf("got %+v, %v", s, err)
			}
		})
	}
}

func TestAwait(t *testing.T) {
	steps := []lab.Step{{Check: &lab.Check{Kind: "Pod", Name: "a", For: "object != null"}}}
	late := &fake{answers: []cluster.Objects{one(), one(phase("Running"))}}
	if s, err := Await(t.Context(), steps, 0, late, time.Minute); err != nil || s.State != Done || late.looks != 2 {
		t.Errorf("what comes late: %+v, %v after %d looks", s, err, late.looks)
	}
	never := &fake{answers: []cluster.Objects{one()}}
	if s, err := Await(t.Context(), steps, 0, never, 0); err != nil || s.State != Open {
		t.Errorf("what never comes: %+v, %v", s, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Await(ctx, steps, 0, never, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// named answers with an object where its name is among those there.
type named []string

func (n named) Look(_ context.Context, c *lab.Check) (cluster.Objects, error) {
	if slices.Contains(n, c.Name) {
		return one(map[string]any{}), nil
	}
	return one(), nil
}

// TestUntil: a step whose work a later one takes away is done with that one.
func TestUntil(t *testing.T) {
	step := func(name string, until int) lab.Step {
		return lab.Step{Check: &lab.Check{Kind: "Pod", Name: name, For: "object != null", Until: until}}
	}
	steps := []lab.Step{step("a", 2), step("b", 3), step("c", 0)}
	for there, want := range map[string]string{
		"": "open open open", "a": "done open open", "b": "done done open", "c": "done done done", "a c": "done done done",
	} {
		seen, err := Look(t.Context(), steps, named(strings.Fields(there)))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %s", seen[0].State, seen[1].State, seen[2].State); got != want {
			t.Errorf("with %q: %s, want %s", there, got, want)
		}
	}
}

func TestLook(t *testing.T) {
	steps := []lab.Step{{}, {Check: &lab.Check{Kind: "Pod", Name: "a", For: "object != null"}}}
	seen, err := Look(t.Context(), steps, &fake{answers: []cluster.Objects{one()}})
	if err != nil || len(seen) != 2 || seen[1].Number != 2 || AllDone(seen) || !AllDone(seen[:1]) {
		t.Errorf("%+v, %v", seen, err)
	}
}

// labCluster has two nodes and the classes of two runtimes.
type labCluster struct{ probe.Cluster }

func (labCluster) Nodes() []string                  { return []string{"plane", "worker"} }
func (labCluster) ProbeImage(runtime string) string { return "localhost/labprobe-" + runtime + ":1" }
func (labCluster) RuntimeClass(runtime string) (string, bool) {
	name, ok := map[string]string{"runc": "runc", "gvisor": "sandboxed"}[runtime]
	return name, ok
}

func TestFill(t *testing.T) {
	steps := []lab.Step{{}, {Check: &lab.Check{For: "object.spec.runtimeClassName == '${CLASS.gvisor}'"}}}
	filled, err := Fill(steps, labCluster{})
	if err != nil || filled[1].Check.For != "object.spec.runtimeClassName == 'sandboxed'" {
		t.Errorf("%+v, %v", filled, err)
	}
	if steps[1].Check.For == filled[1].Check.For {
		t.Error("the lab itself was changed")
	}
	steps[1].Check.For = "object.x == '${CLASS.wasmedge}'"
	if _, err := Fill(steps, labCluster{}); err == nil || !strings.Contains(err.Error(), "step 2") {
		t.Errorf("a class that the cluster doesn't have: %v", err)
	}
}

func TestCompile(t *testing.T) {
	for text, want := range map[string]string{
		"object != null":                  "",
		"object.a == '${CLASS.gvisor}'":   "",
		"object.a == '${CLASS.kata}'":     "${CLASS.kata}",
		"objects.exists(o, o.a == 1)":     "object",
		"1 == 1":                          "can't fail",
		"object.metadata.name + 'x' == 1": "no matching overload",
		"object != null &&":               "Syntax error",
	} {
		err := Compile(text, true)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestManifest(t *testing.T) {
	for name, c := range map[string]struct{ in, want, err string }{
		"names and labels": {
			in: "# A Pod.\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a # its name\n  labels: {app: x}\nspec:\n  runtimeClassName: ${CLASS.gvisor}\n  nodeName: ${NODE.1}\n",
			want: "# A Pod.\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a # its name\n  labels: {app: x, app.kubernetes.io/managed-by: labctl, labctl.dev/namespace: lab}\n" +
				"spec:\n  runtimeClassName: sandboxed\n  nodeName: worker\n",
		},
		"several, without labels": {
			in:   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\nkind: Namespace\nmetadata:\n  name: ${NAMESPACE}-b\n",
			want: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {app.kubernetes.io/managed-by: labctl, labctl.dev/namespace: lab}}\n---\nkind: Namespace\nmetadata:\n  name: lab-b\n  labels:\n    app.kubernetes.io/managed-by: labctl\n    labctl.dev/namespace: lab\n",
		},
		"a label that is another's": {
			in:   "metadata:\n  labels:\n    app.kubernetes.io/managed-by: helm\n",
			want: "metadata:\n  labels:\n    app.kubernetes.io/managed-by: labctl\n    labctl.dev/namespace: lab\n",
		},
		"an unknown name": {in: "kind: ${KIND}\n", err: "${KIND}"},
		"no object":       {in: "- a\n", err: "is no object"},
		"no YAML":         {in: "a: [\n", err: "did not find"},
		"labels of text":  {in: "metadata: {labels: x}\n", err: "labels is of another kind"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Manifest(c.in, labCluster{})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || string(got) != c.want {
				t.Errorf("got %v\n%s\nwant\n%s", err, got, c.want)
			}
		})
	}
}
