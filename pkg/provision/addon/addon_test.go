package addon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/isolation-stack/labctl/manifests"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// sources are the go.mod files below images/.
func sources(t *testing.T) gomodule.Sources {
	t.Helper()
	var s gomodule.Sources
	root := "../../../images"
	mods, err := filepath.Glob(root + "/*/go.mod")
	if err != nil || len(mods) == 0 {
		t.Fatal(mods, err)
	}
	for _, m := range mods {
		content, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		s.Files = append(s.Files, gomodule.File{Name: filepath.Base(filepath.Dir(m)) + "/go.mod", Content: content})
	}
	return s
}

// TestTable: what the table says fits what is pinned and what is applied.
func TestTable(t *testing.T) {
	src := sources(t)
	shortNames := map[string]string{}
	table := Table()
	if !slices.IsSorted(Names(table)) {
		t.Error("the table isn't sorted by name")
	}
	for _, a := range table {
		t.Run(a.Name, func(t *testing.T) {
			if a.Doc == "" || a.Ready == nil && a.Manifests {
				t.Error("it has no doc, or nothing that shows that it is ready")
			}
			refs := map[string]string{}
			for _, i := range a.Images {
				if other, twice := shortNames[i.Name]; twice {
					t.Errorf("%s has an image %s as well", other, i.Name)
				}
				shortNames[i.Name] = a.Name
				ref, err := i.reference(src)
				if err != nil {
					t.Error(err)
				}
				refs[i.Name] = ref
				if p, err := program(table, i.Module, src); err != nil || !strings.Contains(p.Title, i.Module) {
					t.Errorf("program %v, %v", p, err)
				}
				if !builds(t, src, i) {
					t.Errorf("images/%s/go.mod has no tool whose program is %s", i.Module, i.Program)
				}
			}
			for _, u := range a.Upstream {
				if _, err := src.Version(u.Module, u.Requires); err != nil {
					t.Error(err)
				}
				if len(u.Files) == 0 {
					t.Error("files of a module, but none are named")
				}
			}
			if !a.Manifests {
				return
			}
			dir, err := fs.Sub(manifests.FS, path.Join("addons", a.Name))
			if err != nil {
				t.Fatal(err)
			}
			objects, err := read(dir, a.Name, refs)
			if err != nil {
				t.Fatal(err)
			}
			if len(objects) == 0 {
				t.Error("there are no manifests")
			}
			for _, o := range objects {
				if o.GetLabels()[Label] != a.Name || o.GetLabels()[ManagedByLabel] != ManagedBy {
					t.Errorf("%s has the labels %v", title(o), o.GetLabels())
				}
				ownImages(t, o, refs)
			}
		})
	}
}

// builds says whether the module's tools have the program; the last element
// of a tool's import path is its name, or the one before a /vN.
func builds(t *testing.T, src gomodule.Sources, i Image) bool {
	t.Helper()
	for _, f := range src.Below(i.Module) {
		for line := range strings.Lines(string(f.Content)) {
			tool := strings.TrimPrefix(strings.TrimSpace(line), "tool ")
			base := path.Base(tool)
			if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
				base = path.Base(path.Dir(tool))
			}
			if base == i.Program && strings.Contains(tool, "/") {
				return true
			}
		}
	}
	return false
}

// ownImages checks that containers run images of the add-on alone, which are
// never pulled.
func ownImages(t *testing.T, o *unstructured.Unstructured, refs map[string]string) {
	t.Helper()
	for _, field := range []string{"containers", "initContainers"} {
		list, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", field)
		for _, c := range list {
			container := c.(map[string]any)
			known := false
			for _, ref := range refs {
				known = known || container["image"] == ref
			}
			if !known || container["imagePullPolicy"] == "Always" {
				t.Errorf("%s: container %v runs %v (%v)", title(o), container["name"], container["image"], container["imagePullPolicy"])
			}
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ name, text, err string }{
		{"two and a comment", "# first\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {image: \"${image:x}\"}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: b}\n", ""},
		{"unknown image", "apiVersion: v1\nkind: Pod\nmetadata: {name: ${image:y}}", "${image:y} stands for nothing"},
		{"no image at all", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"${node:x}\"}", "${node:x} stands for nothing"},
		{"no name", "apiVersion: v1\nkind: Pod", "without apiVersion, kind or name"},
		{"a field twice", "kind: Pod\nkind: Pod", "already set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := parse([]byte(c.text), map[string]string{"x": "localhost/x:1"})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			}
			if err != nil || len(objects) != 2 {
				t.Fatal(objects, err)
			}
			if image, _, _ := unstructured.NestedString(objects[0].Object, "data", "image"); image != "localhost/x:1" {
				t.Errorf("image %q", image)
			}
			if err := label(objects[1], "n"); err != nil {
				t.Fatal(err)
			}
			if l, _, _ := unstructured.NestedString(objects[1].Object, "spec", "template", "metadata", "labels", Label); l != "n" {
				t.Errorf("the Pods' label is %q", l)
			}
		})
	}
}

func TestStage(t *testing.T) {
	kinds := []string{"ValidatingWebhookConfiguration", "CustomResourceDefinition", "APIService", "Deployment", "Namespace"}
	for i := range kinds[1:] {
		before, after := stage(ofKind(kinds[i])), stage(ofKind(kinds[i+1]))
		if before >= after {
			t.Errorf("%s goes in step %d, %s in %d", kinds[i], before, kinds[i+1], after)
		}
	}
}

func ofKind(kind string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{"kind": kind}}
}

func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		err  error
		host bool
	}{
		{fmt.Errorf("x is built from Go modules: %w", exec.ErrNotFound), true},
		{fmt.Errorf("build: %w", gomodule.ErrDownload), true},
		{errors.New("x.go:1: syntax error"), false},
		{context.Canceled, false},
	} {
		var u *evidence.Untestable
		if got := errors.As(wrap("a", unavailable(c.err)), &u); got != c.host {
			t.Errorf("%v: the host's fault %v, want %v", c.err, got, c.host)
		}
	}
}

// TestReadyChecks: each check is false before it is true.
func TestReadyChecks(t *testing.T) {
	denied := apierrors.NewForbidden(corev1.Resource("x"), "y", errors.New(`admission webhook "validation.gatekeeper.sh" denied the request`))
	for _, c := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"metrics of a node", usage([]byte(`{"items":[{"usage":{"cpu":"1m","memory":"3Mi"}}]}`)), true},
		{"no metrics yet", usage([]byte(`{"items":[]}`)), false},
		{"metrics without a value", usage([]byte(`{"items":[{"usage":{"memory":"0"}}]}`)), false},
		{"no JSON", usage([]byte(`<html>`)), false},
		{"all nodes", describes([]byte("kube_node_info{node=\"a\"} 1\nkube_node_info{node=\"b\"} 1\n"), []string{"a", "b"}), true},
		{"one node is missing", describes([]byte("kube_node_info{node=\"a\"} 1\n"), []string{"a", "b"}), false},
		{"another metric", describes([]byte("kube_pod_info{node=\"a\"} 1\n"), []string{"a"}), false},
		{"refused by the webhook", refusal(denied), true},
		{"refused by another", refusal(apierrors.NewForbidden(corev1.Resource("x"), "y", errors.New("quota"))), false},
		{"taken", refusal(nil), false},
	} {
		if (c.err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
}

// TestMarker: two labctls that hold an add-on, one that ended, and a ConfigMap
// that isn't labctl's.
func TestMarker(t *testing.T) {
	ctx := t.Context()
	client := fake.NewClientset()
	a, b := &Set{typed: client, id: "a"}, &Set{typed: client, id: "b"}
	for _, s := range []*Set{a, b} {
		err := s.change(ctx, "x", func(m *marker) error {
			m.state, m.holds[s.id] = Up, time.Now().Add(time.Minute)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := a.marker(ctx, "x")
	if err != nil || m.state != Up || m.other("a").IsZero() || m.other("b").IsZero() {
		t.Fatalf("%+v, %v: both hold it", m, err)
	}
	err = b.change(ctx, "x", func(m *marker) error {
		m.holds["b"] = time.Now().Add(-time.Second) // killed a while ago
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = a.marker(ctx, "x"); err != nil || !m.other("a").IsZero() || m.other("b").IsZero() {
		t.Errorf("%+v, %v: only a holds it", m, err)
	}
	if err := a.change(ctx, "x", func(m *marker) error { m.state = Absent; return nil }); err != nil {
		t.Fatal(err)
	}
	if m, err = a.marker(ctx, "x"); err != nil || m.state != Absent {
		t.Errorf("%+v, %v after it was removed", m, err)
	}
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: markerName("y"), Namespace: markerNamespace}}
	if _, err := client.CoreV1().ConfigMaps(markerNamespace).Create(ctx, foreign, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.change(ctx, "y", func(m *marker) error { m.state = Up; return nil }); err == nil || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("a ConfigMap that isn't labctl's: %v", err)
	}
}
