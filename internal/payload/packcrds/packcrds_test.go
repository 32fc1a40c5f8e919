package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	xmod "golang.org/x/mod/module"
	"golang.org/x/mod/zip"
	"sigs.k8s.io/yaml"
)

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.k8s.io
  annotations: {api-approved.kubernetes.io: "https://example.com", other: x}
  labels: {a: b}
spec:
  group: example.k8s.io
  conversion: {strategy: Webhook}
  versions:
  - name: v1
    additionalPrinterColumns: [{name: x}]
    schema:
      openAPIV3Schema:
        description: gone
        type: object
        properties:
          description: {type: string, description: gone, default: stays}
          example: {type: array, items: {type: object, description: gone, example: gone}}
          any: {anyOf: [{description: gone, type: string}], additionalProperties: {description: gone, type: string}}
        x-kubernetes-validations: [{rule: "self.description != ''", message: stays}]
    subresources: {status: {}}
status: {}
`

const stripped = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things.example.k8s.io
  annotations: {api-approved.kubernetes.io: "https://example.com"}
spec:
  group: example.k8s.io
  versions:
  - name: v1
    schema:
      openAPIV3Schema:
        type: object
        properties:
          description: {type: string, default: stays}
          example: {type: array, items: {type: object}}
          any: {anyOf: [{type: string}], additionalProperties: {type: string}}
        x-kubernetes-validations: [{rule: "self.description != ''", message: stays}]
    subresources: {status: {}}
`

func TestDefinitions(t *testing.T) {
	got, err := definitions([]byte("# head\n---\nkind: Kustomization\n---\n" + crd))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal([]byte(stripped), &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		b, _ := json.MarshalIndent(got, "", " ")
		t.Errorf("got %s", b)
	}
	for name, content := range map[string]string{
		"another version": "apiVersion: apiextensions.k8s.io/v1beta1\nkind: CustomResourceDefinition\nmetadata: {name: a.b}\n",
		"no name":         "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n",
		"no YAML":         "{{",
	} {
		if got, err := definitions([]byte(content)); err == nil {
			t.Errorf("%s: %d definitions and no error", name, len(got))
		}
	}
}

func TestReadPins(t *testing.T) {
	const mod = "module m\n\ngo 1.26.0\n\nrequire (\n\texample.com/a v1.0.0\n\texample.com/b v1.2.3\n)\n"
	tests := []struct{ name, list, fails string }{
		{"both", "- {module: example.com/a, files: [x]}\n- {module: example.com/b, files: [y]}\n", ""},
		{"one that isn't required", "- {module: example.com/c, files: [x]}\n", "example.com/c"},
		{"one twice", "- {module: example.com/a, files: [x]}\n- {module: example.com/a, files: [y]}\n", "example.com/a"},
		{"one left out", "- {module: example.com/a, files: [x]}\n", "example.com/b"},
		{"no files", "- {module: example.com/a}\n", "either files or types"},
		{"types that aren't pinned", "- {module: example.com/a, types: true}\n", "example.com/a"},
		{"an unknown field", "- {module: example.com/a, file: x}\n", "file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readPins(fstest.MapFS{"crds.yaml": {Data: []byte(tt.list)}, "go.mod": {Data: []byte(mod)}})
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("error %v, want one with %q", err, tt.fails)
				}
				return
			}
			if err != nil || len(got) != 2 || got[1].at() != "example.com/b@v1.2.3" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// The project's own pins can be read.
func TestPins(t *testing.T) {
	if _, err := readPins(os.DirFS("../../../images/crds")); err != nil {
		t.Error(err)
	}
}

// proxy makes a Go module proxy of files with one module, and a module cache
// that is empty.
func proxy(t *testing.T, path, version string, files map[string]string) {
	t.Helper()
	root := t.TempDir()
	src := filepath.Join(root, "src")
	files["go.mod"] = "module " + path + "\n"
	for name, content := range files {
		writeFile(t, filepath.Join(src, name), content)
	}
	var z bytes.Buffer
	if err := zip.CreateFromDir(&z, xmod.Version{Path: path, Version: version}, src); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, "proxy", path, "@v", version)
	writeFile(t, at+".zip", z.String())
	writeFile(t, at+".mod", files["go.mod"])
	writeFile(t, at+".info", `{"Version":"`+version+`"}`)
	t.Setenv("GOPROXY", "file://"+filepath.ToSlash(filepath.Join(root, "proxy")))
	emptyCache(t)
}

func emptyCache(t *testing.T) {
	t.Helper()
	t.Setenv("GOSUMDB", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	t.Setenv("GOFLAGS", "-modcacherw")
}

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	proxy(t, "example.com/a", "v1.0.0", map[string]string{"crds/things.yaml": crd, "other.yaml": "kind: Service\n"})
	pins := t.TempDir()
	writeFile(t, filepath.Join(pins, "go.mod"), "module m\n\ngo 1.26.0\n\nrequire example.com/a v1.0.0\n")
	writeFile(t, filepath.Join(pins, "go.sum"), "")
	writeFile(t, filepath.Join(pins, "crds.yaml"), "- {module: example.com/a, files: [crds/*.yaml]}\n")
	archive := filepath.Join(t.TempDir(), "crds.tar.zst")
	if err := run(t.Context(), pins, archive); err == nil || !strings.Contains(err.Error(), "go.sum") {
		t.Fatalf("without go.sum: error %v", err)
	}
	modules, err := readPins(os.DirFS(pins))
	if err != nil {
		t.Fatal(err)
	}
	// The sums as Go itself computes them.
	sums := sum(t, modules[0])
	writeFile(t, filepath.Join(pins, "go.sum"), strings.Replace(sums, "h1:", "h1:AAAA", 1))
	if err := run(t.Context(), pins, archive); err == nil {
		t.Fatal("a wrong sum is no error")
	}
	writeFile(t, filepath.Join(pins, "go.sum"), sums)
	if err := run(t.Context(), pins, archive); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("the same bytes again", func(t *testing.T) {
		again := filepath.Join(t.TempDir(), "crds.tar.zst")
		if err := run(t.Context(), pins, again); err != nil {
			t.Fatal(err)
		}
		if second, err := os.ReadFile(again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%d and %d bytes differ (%v)", len(first), len(second), err)
		}
	})
	t.Run("same pins: no download", func(t *testing.T) {
		emptyCache(t)
		t.Setenv("GOPROXY", "off")
		if err := run(t.Context(), pins, archive); err != nil {
			t.Error(err)
		}
	})
	t.Run("other pins", func(t *testing.T) {
		for files, fails := range map[string]string{"[other.yaml]": "no CustomResourceDefinition", "['crds/*', crds/things.yaml]": "one module", "['[']": "syntax error"} {
			writeFile(t, filepath.Join(pins, "crds.yaml"), "- {module: example.com/a, files: "+files+"}\n")
			if err := run(t.Context(), pins, archive); err == nil || !strings.Contains(err.Error(), fails) {
				t.Errorf("%s: error %v, want one with %q", files, err, fails)
			}
			if now, err := os.ReadFile(archive); err != nil || !bytes.Equal(first, now) {
				t.Errorf("%s: a run that failed left another archive (%v)", files, err)
			}
		}
	})
}

// sum is the go.sum that Go writes for one module.
func sum(t *testing.T, m module) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "go.mod"), "module m\n\ngo 1.26.0\n\nrequire "+m.Path+" "+m.version+"\n")
	out, err := goCommand(t.Context(), dir, "mod", "download", m.at())
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
