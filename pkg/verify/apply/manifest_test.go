package apply

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestParse(t *testing.T) {
	fsys := fstest.MapFS{"x.yaml": {Data: []byte(`# two objects and an empty document
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {n: "1"}
---
---
apiVersion: v1
kind: Pod
metadata:
  name: b
spec:
  containers:
  - name: web
    image: x
    ports:
    - containerPort: 99999
`)}}
	objects, err := Parse(fsys, "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 || objects[0].Line() != 3 || objects[1].Line() != 9 {
		t.Fatalf("got %d objects, lines %d and %d", len(objects), objects[0].Line(), objects[len(objects)-1].Line())
	}
	for path, want := range map[string]int{
		"spec.containers[0].ports[0].containerPort: Invalid value": 18,
		`.spec.containers[name="web"].image: field not declared`:   16,
		`.spec.containers[name="db"].image: field not declared`:    14,
		"spec.containers[7].image":                                 14,
		"metadata.name: Invalid value":                             12,
		"nothing that is a path":                                   9,
	} {
		if got := objects[1].lineOf(path); got != want {
			t.Errorf("lineOf(%q) = %d, want %d", path, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"syntax":        {"apiVersion: v1\nkind: [", "x.yaml:2: is not YAML: "},
		"duplicate key": {"apiVersion: v1\nkind: Pod\nkind: Pod\n", "x.yaml:3: is not YAML: "},
		"no kind":       {"\napiVersion: v1\nmetadata: {name: a}\n", "x.yaml:2: is no Kubernetes object: "},
		"no version":    {"kind: Pod\nmetadata: {name: a}\n", "x.yaml:1: apiVersion is missing"},
		"no name":       {"apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "x.yaml:1: Pod has no metadata.name; server-side apply needs one"},
		"a list":        {"apiVersion: v1\nkind: List\nitems: []\n", "x.yaml:1: is a List; write its items as objects of their own, split by ---"},
		"text":          {"hello\n", "x.yaml:1: is not YAML: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(fstest.MapFS{"x.yaml": {Data: []byte(c.text)}}, "x.yaml")
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want it to begin with %q", err, c.want)
			}
		})
	}
	if _, err := Parse(fstest.MapFS{}, "gone.yaml"); err == nil || !strings.Contains(err.Error(), "gone.yaml") {
		t.Errorf("a file that isn't there: %v", err)
	}
}
