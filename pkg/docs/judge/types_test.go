package judge

import (
	"bytes"
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

func manifest(t *testing.T, text string) (yamldoc.Doc, map[string]any, schema.GroupVersionKind) {
	t.Helper()
	parsed := yamldoc.Parse(text)
	if len(parsed) != 1 || parsed[0].Err != nil {
		t.Fatalf("%+v", parsed)
	}
	data, err := parsed[0].JSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	gv, err := schema.ParseGroupVersion(m["apiVersion"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return parsed[0], m, gv.WithKind(m["kind"].(string))
}

func TestMistyped(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\n"
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"all right": {head + "metadata: {name: a, labels: {a: b}, creationTimestamp: null}\nspec:\n  containers:\n  - name: c\n" +
			"    resources: {limits: {cpu: 0.5, memory: 64Mi}}\n    livenessProbe: {httpGet: {port: http}}\n    ports: [{containerPort: 80}]\n    args: [\"1\"]\n", nil},
		"every one is found": {head + "metadata: {name: a, labels: {version: 1.5}}\nspec:\n  containers:\n  - name: c\n  - name: d\n    env:\n    - {name: A, value: b}\n" +
			"    - {name: B, value: true}\n    command: echo\n    resources: {limits: {memory: 64 MB}}\n    ports: [{containerPort: \"80\"}]\n", []string{
			"metadata.labels.version: 1.5 is a number; the API wants a string (in quotes)",
			`spec.containers[1].command: "echo" is a string; the API wants a list`,
			"spec.containers[1].env[1].value: true is a boolean; the API wants a string (in quotes)",
			`spec.containers[1].ports[0].containerPort: "80" is a string; the API wants an integer of 32 bits (without quotes)`,
			`spec.containers[1].resources.limits.memory: "64 MB" is a string that can't be read as a quantity, such as "500m", "1.5" or "64Mi"`,
		}},
		"a list for a mapping": {head + "spec: [1]\n", []string{"spec: there is a list; the API wants a mapping"}},
		"a mapping for a list": {head + "spec: {containers: {name: c}}\n", []string{"spec.containers: there is a mapping; the API wants a list"}},
		"out of range":         {head + "spec: {containers: [{ports: [{containerPort: 80000000000}]}]}\n", []string{"spec.containers[0].ports[0].containerPort: 80000000000 is a number; the API wants an integer of 32 bits"}},
		"a time":               {head + "metadata: {creationTimestamp: yesterday}\n", []string{`metadata.creationTimestamp: "yesterday" is a string that can't be read as a time in RFC 3339, such as "2025-01-31T12:00:00Z"`}},
		"base64":               {"apiVersion: v1\nkind: Secret\ndata: {a: \"not base64!\", b: eA==}\n", []string{"data.a: the value is not base64: illegal base64 data at input byte 3"}},
		"what all objects share": {"apiVersion: example.com/v1\nkind: Db\nmetadata: {labels: {a: 1}}\nspec: [1]\n",
			[]string{"metadata.labels.a: 1 is a number; the API wants a string (in quotes)"}},
		"a CRD": {"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {versions: {name: v1}}\n",
			[]string{"spec.versions: there is a mapping; the API wants a list"}},
	} {
		t.Run(name, func(t *testing.T) {
			doc, m, gvk := manifest(t, c.text)
			got := mistyped(goType(gvk), m)
			if len(got) != len(c.want) {
				t.Fatalf("got %+v", got)
			}
			for i, p := range got {
				if p.message != c.want[i] {
					t.Errorf("got  %s\nwant %s", p.message, c.want[i])
				}
				if _, _, ok := doc.Find(p.field); !ok {
					t.Errorf("%s isn't found in the text", p.field)
				}
				if !prune(m, p.field) {
					t.Errorf("%s can't be taken out", p.field)
				}
			}
			if again := mistyped(goType(gvk), m); len(again) > 0 {
				t.Errorf("still there: %+v", again)
			}
		})
	}
}

func TestHint(t *testing.T) {
	deployment := goShape{goType(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"})}
	for field, want := range map[string]string{
		"spec.replica":    "did you mean replicas?",
		"spec.Replicas":   "did you mean replicas?",
		"metadata.lables": "did you mean labels?",
		"spec.template.spec.containers[0].volumes":                      "volumes is a field of spec.template.spec",
		"spec.template.spec.containers[0].ports[0].hostport":            "did you mean hostPort?",
		"spec.template.spec.containers[0].nodeSelector":                 "nodeSelector is a field of spec.template.spec",
		"spec.template.containers":                                      "containers is a field of spec.template.spec",
		"spec.template.spec.containers[0].frobnicate":                   "",
		"spec.nowhere.at.all":                                           "",
		"spec.template.spec.containers[0].resources.limits.cpu.nothing": "",
	} {
		got, to := hint(deployment, field)
		if got != want || (to == "") != (want == "") {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
}

func TestHintOfSchema(t *testing.T) {
	_, crd, _ := manifest(t, `apiVersion: v1
kind: Schema
properties:
  metadata: {type: object}
  spec:
    properties:
      ipAddressPools: {type: array, items: {type: string}}
      syncPolicy:
        properties:
          automated: {properties: {prune: {type: boolean}}}
          syncOptions: {type: array}
      pools: {type: array, items: {properties: {size: {type: integer}}}}
      named: {additionalProperties: {properties: {size: {type: integer}}}}
`)
	for field, want := range map[string]string{
		"spec.ipaddresspools":                   "did you mean ipAddressPools?",
		"spec.syncPolicy.automated.syncOptions": "syncOptions is a field of spec.syncPolicy",
		"spec.syncOptions":                      "syncOptions is a field of spec.syncPolicy",
		"spec.pools[3].sise":                    "did you mean size?",
		"spec.named.x.sise":                     "did you mean size?",
		"metadata.lables":                       "did you mean labels?",
		"spec.pools.size":                       "",
		"spec.frobnicate":                       "",
	} {
		if got, _ := hint(resourceShape{crd}, field); got != want {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
}

func TestPlace(t *testing.T) {
	const text = `apiVersion: v1
kind: Service
metadata:
  name: a
  labels:
    good: x
    a b: y
    bad: "a b"
spec:
  clusterIP: 172.20.0.10
  ports:
  - port: 80
  externalIPs: [1.2.3.4, five]
`
	example := docs.Example{Position: docs.Position{Line: 10}, EndLine: 24, Text: text}
	for i := range 13 {
		example.Lines = append(example.Lines, docs.Position{Line: 11 + i, Column: 3})
	}
	at := origin{example: &example, doc: yamldoc.Parse(text)[0]}
	for _, c := range []struct {
		p            problem
		line, column int
	}{
		{problem{}, 11, 3},
		{problem{field: "kind"}, 12, 9},
		{problem{field: "spec.ports[0].name", message: "Required value"}, 22, 7},
		{problem{field: "spec.selector", message: "Required value"}, 19, 3},
		{problem{field: "nothing.at.all"}, 11, 3},
		{problem{field: "spec.clusterIPs", message: `Invalid value: ["172.20.0.10"]: not in the range`}, 20, 16},
		{problem{field: "spec.clusterIPs[0]", message: `Invalid value: "172.20.0.10": not in the range`}, 20, 16},
		{problem{field: "metadata.labels", message: `Invalid value: "a b": a valid label must be`}, 17, 7},
		{problem{field: "metadata.labels", message: `Invalid value: "nobody's": a valid label must be`}, 15, 5},
		{problem{field: "spec.externalIPs", message: `Unsupported value: "five"`}, 23, 28},
		{problem{field: "spec.ports[0].port", onKey: true}, 22, 7},
	} {
		f := at.finding(c.p, "Service a")
		if f.Line != c.line || f.Column != c.column {
			t.Errorf("%+v: got %d:%d, want %d:%d", c.p, f.Line, f.Column, c.line, c.column)
		}
		if f.End.Line != 0 && (f.End.Line != f.Line || f.End.Column <= f.Column) {
			t.Errorf("%+v: ends at %+v", c.p, f.End)
		}
	}
}

func TestPlaceInAList(t *testing.T) {
	const text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n"
	example := docs.Example{Text: text}
	for i := range 6 {
		example.Lines = append(example.Lines, docs.Position{Line: 1 + i, Column: 1})
	}
	at := origin{example: &example, doc: yamldoc.Parse(text)[0], prefix: "items[0]"}
	for field, want := range map[string]docs.Position{
		"": {Line: 4, Column: 3}, "kind": {Line: 5, Column: 9}, "metadata.name": {Line: 6, Column: 20}, "spec.containers": {Line: 4, Column: 3},
	} {
		if f := at.finding(problem{field: field}, ""); f.Position != want {
			t.Errorf("%q: got %+v, want %+v", field, f.Position, want)
		}
	}
}

func TestDifference(t *testing.T) {
	_, a, _ := manifest(t, "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: x}]}\n")
	_, b, _ := manifest(t, "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: x, command: [a]}]}\n")
	if d := difference(at(a, "spec"), at(b, "spec"), "spec"); d != "spec.containers[0].command" {
		t.Error(d)
	}
	if d := difference(a, a, "spec"); d != "" {
		t.Error(d)
	}
	if d := difference(at(b, "spec"), at(a, "spec"), "spec"); d != "spec.containers[0]" {
		t.Error(d) // what is gone was in what is still there
	}
}
