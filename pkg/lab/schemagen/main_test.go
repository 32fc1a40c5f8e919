package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

func TestSchemaIsUpToDate(t *testing.T) {
	t.Chdir("..")
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../labs/lab.schema.json")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("labs/lab.schema.json is not what the types say (%v); run: go generate ./pkg/lab", err)
	}
}

func TestSchemaValidates(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	schema, err := compiler.Compile("../../../labs/lab.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../testdata/catalogue/kernel-identity/lab.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ old, replacement, want string }{
		"the example":         {"", "", ""},
		"an unknown field":    {"expect: confirmed", "expects: confirmed", "additional properties 'expects' not allowed"},
		"a missing field":     {"  document: kernels.md\n", "", "missing property 'document'"},
		"a wrong type":        {"line: 9", "line: nine", "got string, want integer"},
		"an unknown verdict":  {"expect: confirmed", "expect: yes", "/expect"},
		"an unknown layer":    {"layer: L-4", "layer: L-9", "value must be one of 'L-0'"},
		"an unknown runtime":  {"[runc, gvisor]", "[runc, gviser]", "value must be one of 'runc'"},
		"another version":     {"labctl.dev/v1alpha1", "labctl.dev/v2", "value must be 'labctl.dev/v1alpha1'"},
		"a digest that isn't": {"sha256: ", "sha256: x", "does not match pattern"},
		"text as parameters":  {"with: {labprobe: [identity]}", "with: identity", "got string, want object"},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(example, []byte(c.old)) {
				t.Fatalf("the example doesn't hold %q", c.old)
			}
			data, err := yaml.YAMLToJSON(bytes.Replace(example, []byte(c.old), []byte(c.replacement), 1))
			if err != nil {
				t.Fatal(err)
			}
			var value any
			if err := json.Unmarshal(data, &value); err != nil {
				t.Fatal(err)
			}
			err = schema.Validate(value)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}
