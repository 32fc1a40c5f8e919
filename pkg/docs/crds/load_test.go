package crds

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func definition(name, extra string) string {
	plural, group, _ := strings.Cut(name, ".")
	return fmt.Sprintf(`apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s}
spec:
  group: %s
  scope: Namespaced
  names: {plural: %s, kind: Thing}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
%s`, name, group, plural, extra)
}

func names(list []*unstructured.Unstructured) []string {
	out := []string{}
	for _, d := range list {
		out = append(out, d.GetName())
	}
	slices.Sort(out)
	return out
}

func TestLoad(t *testing.T) {
	deep := "a: " + strings.Repeat("[", 20000) + " # CustomResourceDefinition"
	bomb := "# CustomResourceDefinition\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	tests := []struct {
		name  string
		files map[string]string
		want  []string
		fails string
	}{
		{"one", map[string]string{"a.yaml": definition("things.example.com", "")}, []string{"things.example.com"}, ""},
		{"below, and of other endings", map[string]string{
			"x/y/a.yml": definition("things.example.com", ""), "README.md": "CustomResourceDefinition {{",
		}, []string{"things.example.com"}, ""},
		{"a stream with other objects", map[string]string{
			"all.yaml": "# first\n---\nkind: Service\n---\n" + definition("a.example.com", "") + "---\n" + definition("b.example.com", ""),
		}, []string{"a.example.com", "b.example.com"}, ""},
		{"a list", map[string]string{
			"list.json": `{"kind":"List","items":[{"kind":"Pod"},7,{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"a.example.com","uid":"u"}}]}`,
		}, []string{"a.example.com"}, ""},
		{"the same twice", map[string]string{"a.yaml": definition("a.example.com", ""), "b.yaml": definition("a.example.com", "")}, []string{"a.example.com"}, ""},
		{"a chart's template beside it", map[string]string{
			"crd.yaml": definition("a.example.com", ""), "templates/deployment.yaml": "{{- if .Values.on }}\nkind: Deployment\n",
		}, []string{"a.example.com"}, ""},
		{"a definition with a template in it", map[string]string{"crd.yaml": "{{- if .Values.on }}\n" + definition("a.example.com", "")}, nil, `"crd.yaml"`},
		{"an old version", map[string]string{"a.yaml": "apiVersion: apiextensions.k8s.io/v1beta1\nkind: CustomResourceDefinition\nmetadata: {name: a.example.com}\n"}, nil, "v1beta1"},
		{"no name", map[string]string{"a.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"}, nil, "metadata.name"},
		{"fields that are no maps", map[string]string{"a.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: [name]\nspec: 7\n"}, nil, "metadata.name"},
		{"none", map[string]string{"a.yaml": "kind: Service\n"}, nil, ErrNone.Error()},
		{"an empty folder", map[string]string{}, nil, ErrNone.Error()},
		{"no YAML", map[string]string{"a.yaml": "CustomResourceDefinition: [\x00\xff"}, nil, `"a.yaml"`},
		{"deep nesting", map[string]string{"a.yaml": deep}, nil, `"a.yaml"`},
		{"an alias bomb", map[string]string{"a.yaml": bomb}, nil, `"a.yaml"`},
		{"a large file", map[string]string{"a.yaml": strings.Repeat("# CustomResourceDefinition\n", 1<<20)}, nil, "larger than 16 MiB"},
		{"a name with a newline", map[string]string{"a\n\x1b[31m.yaml": "kind: CustomResourceDefinition"}, nil, `"a\n\x1b[31m.yaml"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for name, content := range tt.files {
				fsys[name] = &fstest.MapFile{Data: []byte(content)}
			}
			start := time.Now()
			got, err := Load(fsys)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("error %v, want one with %q", err, tt.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(names(got), tt.want) {
				t.Errorf("got %q, want %q", names(got), tt.want)
			}
		})
	}
}

func TestLoadTakesAwayWhatNobodyServes(t *testing.T) {
	extra := "  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1]}}\nstatus: {acceptedNames: {kind: Thing}}\n"
	got, err := Load(fstest.MapFS{"a.yaml": {Data: []byte(definition("a.example.com", extra))}})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range [][]string{{"status"}, {"spec", "conversion"}} {
		if _, there, _ := unstructured.NestedFieldNoCopy(got[0].Object, path...); there {
			t.Errorf("%s is still there", strings.Join(path, "."))
		}
	}
	if _, there, _ := unstructured.NestedSlice(got[0].Object, "spec", "versions"); !there {
		t.Error("spec.versions is gone")
	}
}

func TestLoadFollowsNoLinks(t *testing.T) {
	dir := t.TempDir()
	inner := filepath.Join(dir, "crds")
	for _, err := range []error{
		os.Mkdir(inner, 0o755),
		os.Symlink(dir, filepath.Join(inner, "loop")),
		os.WriteFile(filepath.Join(dir, "outside.yaml"), []byte(definition("outside.example.com", "")), 0o644),
		os.Symlink("../outside.yaml", filepath.Join(inner, "link.yaml")),
		os.Symlink("/dev/zero", filepath.Join(inner, "zero.yaml")),
		os.WriteFile(filepath.Join(inner, "a.yaml"), []byte(definition("a.example.com", "")), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(os.DirFS(inner))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a.example.com"}; !slices.Equal(names(got), want) {
		t.Errorf("got %q, want %q", names(got), want)
	}
	if _, err := Load(os.DirFS(filepath.Join(dir, "gone"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that isn't there: %v", err)
	}
}

func TestOverride(t *testing.T) {
	one := func(name, from string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{Object: map[string]any{"from": from}}
		u.SetName(name)
		return u
	}
	got := Override([]*unstructured.Unstructured{one("a", "labctl"), one("b", "labctl")}, []*unstructured.Unstructured{one("b", "user"), one("c", "user")})
	var from []string
	for _, u := range got {
		from = append(from, u.GetName()+" "+u.Object["from"].(string))
	}
	if want := []string{"a labctl", "b user", "c user"}; !slices.Equal(from, want) {
		t.Errorf("got %q, want %q", from, want)
	}
}
