package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/openapi"

	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/schema"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// published are the schemas of two kinds as an API server publishes them.
const published = `{"components": {"schemas": {
"io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "properties": {
  "name": {"type": "string"}, "namespace": {"type": "string"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}},
"io.k8s.Pod": {"type": "object", "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}], "properties": {
  "apiVersion": {"type": "string"}, "kind": {"type": "string"},
  "metadata": {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
  "spec": {"type": "object", "required": ["containers"], "properties": {
    "hostNetwork": {"type": "boolean"}, "containers": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
      "name": {"type": "string"}, "image": {"type": "string"}, "imagePullPolicy": {"type": "string"}}}}}},
  "status": {"type": "object"}}}
}}}`

type openAPI string

func (o openAPI) Paths() (map[string]openapi.GroupVersion, error) {
	return map[string]openapi.GroupVersion{"api/v1": o}, nil
}
func (o openAPI) Schema(string) ([]byte, error) { return []byte(o), nil }
func (openAPI) ServerRelativeURL() string       { return "" }

// definition is the CRD of a kind.
func definition(kind string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": strings.ToLower(kind) + "s.example.org"}, "spec": map[string]any{
		"group": "example.org", "scope": "Namespaced", "names": map[string]any{"kind": kind, "plural": strings.ToLower(kind) + "s"},
		"versions": []any{
			map[string]any{"name": "v1", "served": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "required": []any{"spec"}, "properties": map[string]any{"spec": map[string]any{
					"type": "object", "required": []any{"size"}, "properties": map[string]any{
						"size":  map[string]any{"type": "integer", "maximum": int64(3)},
						"port":  map[string]any{"anyOf": []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}},
						"owner": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
					}}}}}},
			map[string]any{"name": "v1beta1", "served": false},
		},
	}}}
}

func bySchema(t *testing.T) *Judge {
	t.Helper()
	schemas, err := schema.New(openAPI(published))
	if err != nil {
		t.Fatal(err)
	}
	verbs := metav1.Verbs{"create"}
	j, err := NewBySchema(Server{
		Version: "v1.37.2",
		Groups:  []*metav1.APIGroup{{Versions: []metav1.GroupVersionForDiscovery{{Version: "v1"}}}},
		Resources: []*metav1.APIResourceList{{GroupVersion: "v1", APIResources: []metav1.APIResource{
			{Name: "pods", Kind: "Pod", Namespaced: true, Verbs: verbs}, {Name: "secrets", Kind: "Secret", Namespaced: true, Verbs: verbs},
		}}},
	}, schemas, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Widget", "Gadget"} {
		if err := j.Define(definition(kind)); err != nil {
			t.Fatal(err)
		}
	}
	return j
}

func TestBySchema(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"
	const widget = "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\n"
	tests := []struct {
		name, text string
		want       []string // line:column severity rule field, lines from that below the fence
	}{
		{"right", pod + "spec: {containers: [{name: a, image: b}]}\n", nil},
		{"an unknown field", pod + "spec:\n  containers:\n  - name: a\n    imagePullPolcy: Always\n", []string{"7:5 error unknown-field spec.containers[0].imagePullPolcy"}},
		{"a wrong type", pod + "spec:\n  hostNetwork: \"true\"\n  containers: []\n", []string{"5:16 error wrong-type spec.hostNetwork"}},
		{"a wrong type, not what is in it", pod + "spec:\n  containers: {nam: a}\n", []string{"5:3 error wrong-type spec.containers"}},
		{"a missing field of a built-in kind", pod + "spec:\n  containers:\n  - image: a\n", []string{"6:5 warning missing-field spec.containers[0].name"}},
		{"of an excerpt", pod + "spec:\n  # ...\n  hostNetwork: true\n", []string{"4:1 note missing-field spec.containers"}},
		{"in a list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  spec: {containers: [], x: 1}\n", []string{"6:26 error unknown-field items[0].spec.x"}},
		{"what a server printed", pod + "spec: {}\nstatus: {phase: Running}\n", []string{"5:1 note printed-object status"}},
		{"a custom resource", widget + "spec: {size: 3, port: http, owner: {any: 1}}\n", nil},
		{"another of its group", strings.Replace(widget, "Widget", "Gadget", 1) + "spec: {size: 3}\n", nil},
		{"a custom resource's mistakes", widget + "spec:\n  siz: 2\n  port: [1]\n", []string{"4:1 error missing-field spec.size", "5:3 error unknown-field spec.siz", "6:3 error wrong-type spec.port"}},
		{"a custom resource's value", widget + "spec: {size: 4}\n", []string{"4:14 error api-rejected spec.size"}},
		{"what all objects share", strings.Replace(widget, "name: w", "nam: w", 1) + "spec: {size: 1}\n", []string{"3:12 error unknown-field metadata.nam"}},
		{"a version that isn't served", strings.Replace(widget, "/v1", "/v1beta1", 1), []string{"1:13 warning unserved-api apiVersion"}},
		{"an unknown group", "apiVersion: nobody.example.com/v1\nkind: X\n", []string{"1:13 note unknown-api apiVersion"}},
		{"an unknown kind", "apiVersion: v1\nkind: Podd\n", []string{"2:7 error unknown-kind kind"}},
		{"a removed API", "apiVersion: extensions/v1beta1\nkind: Ingress\n", []string{"1:13 error removed-api apiVersion"}},
		{"no schema", "apiVersion: v1\nkind: Secret\n", []string{"2:7 note not-judged kind"}},
	}
	j := bySchema(t)
	for _, tt := range tests {
		for mark, want := range map[string][]string{"": tt.want, "<!-- labctl: expect: rejected reason=\"a test\" -->": nil} {
			d := extract.Markdown("a.md", []byte(mark+"\n```yaml\n"+tt.text+"```\n"))
			parsed := [][]yamldoc.Doc{yamldoc.Parse(d.Examples[0].Text)}
			classify.Classify(&d.Examples[0], parsed[0])
			found, err := j.Document(t.Context(), d, parsed)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range found {
				if mark == "" || f.Severity != "note" { // an accepted example is no finding, nor is what a refused one has
					got = append(got, fmt.Sprintf("%d:%d %s %s %s", f.Line-2, f.Column, f.Severity, f.Rule, f.Field))
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %q: got\n%s\nwant\n%s", tt.name, mark, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// A document's message has what the field may be.
func TestBySchemaHint(t *testing.T) {
	d := extract.Markdown("a.md", []byte("```yaml\napiVersion: example.org/v1\nkind: Widget\nspec: {size: 1, prot: 1}\n```\n"))
	parsed := [][]yamldoc.Doc{yamldoc.Parse(d.Examples[0].Text)}
	classify.Classify(&d.Examples[0], parsed[0])
	found, err := bySchema(t).Document(t.Context(), d, parsed)
	if err != nil || len(found) != 1 || found[0].Message != `unknown field "spec.prot"; did you mean port?` {
		t.Errorf("%v, %v", found, err)
	}
}
