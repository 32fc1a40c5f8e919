package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"

	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// served is an OpenAPI v3 document as an API server writes them: Go types with
// references, and a custom resource.
const served = `{"components": {"schemas": {
"io.k8s.Pod": {
  "type": "object", "description": "A Pod",
  "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Pod"}],
  "properties": {
    "apiVersion": {"type": "string"}, "kind": {"type": "string"},
    "metadata": {"allOf": [{"$ref": "#/components/schemas/io.k8s.ObjectMeta"}], "default": {}},
    "spec": {"allOf": [{"$ref": "#/components/schemas/io.k8s.PodSpec"}], "default": {}}}},
"io.k8s.ObjectMeta": {"type": "object", "properties": {
  "name": {"type": "string"}, "creationTimestamp": {"type": "string", "format": "date-time"},
  "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}}}},
"io.k8s.PodSpec": {"type": "object", "required": ["containers"], "properties": {
  "hostNetwork": {"type": "boolean"},
  "description": {"type": "string", "description": "a field of this name"},
  "containers": {"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.Container"}]}}}},
"io.k8s.Container": {"type": "object", "required": ["name"], "properties": {
  "name": {"type": "string", "minLength": 1},
  "policy": {"type": "string", "enum": ["Always", "Never"]},
  "count": {"type": "integer", "format": "int32", "minimum": 0, "exclusiveMinimum": true},
  "port": {"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"},
  "args": {"type": "array", "items": {"type": "string"}}}},
"com.example.v1.Thing": {
  "type": "object", "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Thing"}, {"group": "other", "version": "v1", "kind": "Thing"}],
  "required": ["spec"],
  "properties": {
    "apiVersion": {"type": "string"}, "kind": {"type": "string"},
    "spec": {"type": "object", "required": ["maybe"], "properties": {
      "maybe": {"type": "string", "nullable": true},
      "free": {"type": "object", "properties": {"known": {"type": "integer"}}, "x-kubernetes-preserve-unknown-fields": true},
      "inner": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
      "both": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "anyOf": [{"required": ["a"], "properties": {"a": {"pattern": "^x"}}}, {"required": ["b"]}]},
      "at": {"type": "string", "pattern": "^[a-z]+$"}}}}}
}}}`

// fake is an API server's OpenAPI.
type fake map[string]string

type document string

func (d document) Schema(string) ([]byte, error) {
	if d == "" {
		return nil, errors.New("gone away")
	}
	return []byte(d), nil
}

func (document) ServerRelativeURL() string { return "" }

func (f fake) Paths() (map[string]openapi.GroupVersion, error) {
	out := map[string]openapi.GroupVersion{}
	for path, content := range f {
		out[path] = document(content)
	}
	return out, nil
}

func schemas(t *testing.T) *Schemas {
	t.Helper()
	s, err := New(fake{"api/v1": served, "apis/broken/v1": "{", "apis/gone/v1": ""})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const pod = "apiVersion: v1\nkind: Pod\n"

func TestCheck(t *testing.T) {
	const thing = "apiVersion: v1\nkind: Thing\nspec:\n  maybe: x\n"
	tests := []struct {
		name, text string
		want       []string // line:column message
	}{
		{"right", pod + "metadata: {name: a, creationTimestamp: null, labels: {a.b/c: d}}\nspec:\n  containers:\n  - {name: a, policy: Never, count: 1, port: http, args: [x]}\n", nil},
		{"unknown fields", pod + "spec:\n  contaners: []\n  containers:\n  - name: a\n    imag: b\n",
			[]string{`4:3 unknown field "spec.contaners"`, `7:5 unknown field "spec.containers[0].imag"`}},
		{"a type", pod + "spec:\n  hostNetwork: \"true\"\n  containers: [{name: a}]\n", []string{"4:16 spec.hostNetwork is a string, not a boolean"}},
		{"several types at once", pod + "spec:\n  containers:\n  - name: 1\n    args: x\n", []string{"5:11 spec.containers[0].name is a number, not a string", "6:11 spec.containers[0].args is a string, not an array"}},
		{"a label that is no string", pod + "metadata:\n  labels:\n    a.b/c: true\nspec: {containers: []}\n", []string{"5:12 metadata.labels[a.b/c] is a boolean, not a string"}},
		{"missing", pod + "spec:\n  containers:\n  - policy: Always\n", []string{`5:5 missing required field "spec.containers[0].name"`}},
		{"null is missing", pod + "spec:\n  containers: null\n", []string{`3:1 missing required field "spec.containers"`}},
		{"an enumeration", pod + "spec: {containers: [{name: a, policy: Sometimes}]}\n", []string{"3:39 spec.containers[0].policy: value must be one of 'Always', 'Never'"}},
		{"a bound as OpenAPI 3.0 has it", pod + "spec: {containers: [{name: a, count: 0}]}\n", []string{"3:38 spec.containers[0].count: exclusiveMinimum: got 0, want 0"}},
		{"none of two forms", pod + "spec: {containers: [{name: a, port: [80]}]}\n", []string{"3:31 spec.containers[0].port fits none of the forms that its schema has"}},
		{"a field called description", pod + "spec: {description: 5, containers: []}\n", []string{"3:21 spec.description is a number, not a string"}},
		{"booleans of YAML 1.1", pod + "spec: {hostNetwork: yes, containers: [{name: \"on\"}]}\n", nil},
		{"a name that YAML 1.1 reads as a boolean", pod + "spec: {containers: [{name: on}]}\n", []string{"3:28 spec.containers[0].name is a boolean, not a string"}},
		{"numbers", pod + "spec: {containers: [{name: a, count: 0x10}, {name: \"1\", count: 1.0}, {name: b, count: 9007199254740993}]}\n", nil},
		{"a fraction", pod + "spec: {containers: [{name: a, count: 1.5}]}\n", []string{"3:38 spec.containers[0].count is a number, not an integer"}},
		{"no number of JSON", pod + "spec: {containers: [{name: a, count: .nan}]}\n", []string{"3:38 spec.containers[0].count is a string, not an integer"}},
		{"an alias", pod + "metadata: {name: &n a}\nspec: {containers: [{name: *n}]}\n", nil},
		{"a merge key", "x-base: &b {policy: Never}\n" + pod + "spec: {containers: [{<<: *b, name: a}]}\n", []string{`1:1 unknown field "x-base"`}},
		{"the last of duplicates", pod + "spec: {hostNetwork: 5, hostNetwork: true, containers: []}\n", nil},
		{"a custom resource", thing + "  free: {any: 1, known: 2}\n  inner: {apiVersion: v1, kind: X, metadata: {name: a}, spec: {}}\n  both: {b: x}\n", nil},
		{"a custom resource's unknown field", thing + "  inner: {status: {}}\n", []string{`5:11 unknown field "spec.inner.status"`}},
		{"a custom resource's pattern", thing + "  at: \"1\"\n", []string{"5:7 spec.at: '1' does not match pattern '^[a-z]+$'"}},
		{"a field that may be null", "apiVersion: v1\nkind: Thing\nspec: {maybe: null}\n", nil},
		{"all is missing", "apiVersion: v1\nkind: Thing\n", []string{`1:1 missing required field "spec"`}},
		{"nothing of the kind", "apiVersion: v1\nkind: Thing\nspec: [1]\n", []string{"3:1 spec is an array, not an object"}},
	}
	s := schemas(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := yamldoc.Parse(tt.text)[0]
			found, known, err := s.Check(d)
			if err != nil || !known {
				t.Fatalf("known %t, error %v", known, err)
			}
			var got []string
			for _, v := range found {
				got = append(got, fmt.Sprintf("%d:%d %s", v.Line, v.Column, v.Message))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestCheckUnknown(t *testing.T) {
	s := schemas(t)
	for name, text := range map[string]string{
		"another kind":             "apiVersion: v1\nkind: Podd\n",
		"another group":            "apiVersion: example.com/v1\nkind: Pod\n",
		"a group that can't be":    "apiVersion: a/b/c\nkind: Pod\n",
		"no object":                "a: b\n",
		"broken":                   "a: [\n",
		"of one group, in another": "apiVersion: other/v1\nkind: Thing\n",
	} {
		if found, known, err := s.Check(yamldoc.Parse(text)[0]); known || err != nil || len(found) > 0 {
			t.Errorf("%s: known %t, %v, error %v", name, known, found, err)
		}
	}
	for _, group := range []string{"broken", "gone"} {
		if _, _, err := s.Check(yamldoc.Parse("apiVersion: " + group + "/v1\nkind: X\n")[0]); err == nil {
			t.Errorf("%s: no error", group)
		}
	}
}

func TestCheckHostile(t *testing.T) {
	bomb := pod + "metadata:\n  labels:\n    a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("    a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	many := pod + "spec:\n  containers:\n" + strings.Repeat("  - {bad: 1}\n", 20000)
	deep := pod + "metadata: {labels: {a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}}\nspec: {containers: []}\n"
	for name, text := range map[string]string{"an alias bomb": bomb, "many mistakes": many, "deep": deep, "an alias of itself": pod + "metadata: &m {labels: *m}\n"} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			found, _, err := schemas(t).Check(yamldoc.Parse(text)[0])
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			if len(found) > maxViolations+1 {
				t.Errorf("%d violations", len(found))
			}
			if err == nil && len(found) == 0 && !strings.HasPrefix(name, "an alias") {
				t.Error("nothing is found")
			}
		})
	}
}

// A kind's own document is a JSON schema by itself.
func TestDocument(t *testing.T) {
	s := schemas(t)
	d, err := s.Document(schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(d)
	if err != nil || !strings.Contains(string(b), `"$ref":"#/definitions/io.k8s.Pod"`) || strings.Contains(string(b), "#/components") {
		t.Errorf("%s, %v", b, err)
	}
	if d, err := s.Document(schema.GroupVersionKind{Version: "v1", Kind: "Podd"}); d != nil || err != nil {
		t.Errorf("a kind that isn't there: %v, %v", d, err)
	}
}
