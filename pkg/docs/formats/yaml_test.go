package formats

import (
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

func TestYAML(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "yaml", content: "a: 1\nb: [x, y]\n"},
		{name: "colon", language: "yaml", content: "a: 1\nb: c: d\n", want: []string{"yaml-invalid 2:5"}, message: "mapping values"},
		{name: "the second document", language: "yaml", content: "a: 1\n---\nb: [x\nc: d\n---\ne: 1\n", want: []string{"yaml-invalid 3:1"}},
		{name: "Helm", language: "yaml", content: "a: 1\n{{- if .x }}\nb: c: d\n{{- end }}\n"},
		{name: "a Dockerfile", language: "yaml", format: "dockerfile", content: "FROM alpine:3\nRUNN a\n", want: []string{"dockerfile-invalid 2:1"}},
		{name: "a file of a ConfigMap", language: "yaml", content: `
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data:
  a.yaml: |
    x: 1
    y: z: 1
  a.txt: |
    y: z: 1
`, want: []string{"yaml-invalid 7:9"}, field: "data[a.yaml]"},
	})
	prose := example("yaml", "Note: this: is prose\n")
	prose.Class = docs.Prose
	if found := check(prose); len(found) != 0 {
		t.Errorf("prose has findings: %q", messages(found))
	}
}
