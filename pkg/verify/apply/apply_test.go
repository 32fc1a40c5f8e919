package apply

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// apiServer starts etcd and kube-apiserver as plain processes, without a
// cluster, root or a container engine.
func apiServer(t *testing.T) *rest.Config {
	t.Helper()
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		if path, err := exec.LookPath("kube-apiserver"); err == nil {
			assets = filepath.Dir(path)
		}
	}
	if _, err := os.Stat(filepath.Join(assets, "etcd")); assets == "" || err != nil {
		t.Skip("needs kube-apiserver and etcd in one folder: on PATH, or named by KUBEBUILDER_ASSETS")
	}
	server := &envtest.Environment{BinaryAssetsDirectory: assets}
	config, err := server.Start()
	if err != nil {
		t.Fatalf("starting kube-apiserver from %s: %v", assets, err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stopping kube-apiserver: %v", err)
		}
	})
	return config
}

func newApplier(t *testing.T, config *rest.Config, manifests fs.FS) *Applier {
	t.Helper()
	a, err := New(config, manifests)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// finalize does what the namespace controller of a cluster does: it lets
// namespaces go that are being deleted.
func finalize(ctx context.Context, t *testing.T, a *Applier) {
	t.Helper()
	client := a.objects.Resource(namespaces)
	go func() {
		for sleep(ctx, 50*time.Millisecond) == nil {
			list, err := client.List(ctx, metav1.ListOptions{})
			if err != nil {
				continue // the server is stopping
			}
			for _, ns := range list.Items {
				if ns.GetDeletionTimestamp() != nil {
					unstructured.RemoveNestedField(ns.Object, "spec", "finalizers")
					_, _ = client.Update(ctx, &ns, metav1.UpdateOptions{}, "finalize") // tried again in the next round
				}
			}
		}
	}()
}

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.test.labctl.dev}
spec:
  group: test.labctl.dev
  scope: Cluster
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
apiVersion: test.labctl.dev/v1
kind: Widget
metadata: {name: one}
spec: {size: 3}
`

func TestApply(t *testing.T) {
	config := apiServer(t)
	a := newApplier(t, config, fstest.MapFS{
		"good.yaml":   {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: \"1\"}\n")},
		"crd.yaml":    {Data: []byte(crd)},
		"class.yaml":  {Data: []byte("# a class\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: users\nhandler: runc\n")},
		"system.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: kube-system\n")},
		"value.yaml": {Data: []byte(`---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: x
        ports:
        - containerPort: 99999
`)},
		"field.yaml": {Data: []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: [{name: c, image: x}]\n  restartPolice: Never\n")},
		"kind.yaml":  {Data: []byte("apiVersion: v1\nkind: Pots\nmetadata: {name: p}\n")},
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	finalize(ctx, t, a)
	gone := func(resource schema.GroupVersionResource, name string) {
		t.Helper()
		if _, err := a.objects.Resource(resource).Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s %s is still there: %v", resource.Resource, name, err)
		}
	}

	t.Run("makes and removes", func(t *testing.T) {
		closing, err := a.Open(ctx, "labctl-made", []string{"good.yaml", "crd.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		made, err := a.objects.Resource(configMaps).Namespace("labctl-made").Get(ctx, "a", metav1.GetOptions{})
		if err != nil || made.GetLabels()[ManagedByLabel] != ManagedBy {
			t.Errorf("the ConfigMap: %v, labels %v", err, made.GetLabels())
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
		gone(namespaces, "labctl-made")
		gone(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}, "widgets.test.labctl.dev")
	})

	refusals := map[string]struct{ file, want string }{
		"a wrong value":       {"value.yaml", "value.yaml:14: Deployment web: the API server refuses it: "},
		"an unknown field":    {"field.yaml", "field.yaml:6: Pod p: the API server refuses it: "},
		"an unknown kind":     {"kind.yaml", "kind.yaml:1: Pots p: the API server doesn't know v1 Pots: "},
		"a foreign namespace": {"system.yaml", "system.yaml:5: ConfigMap a: namespace kube-system isn't the lab's"},
	}
	for name, c := range refusals {
		t.Run("refuses "+name, func(t *testing.T) {
			closing, err := a.Open(ctx, "labctl-refused", []string{"good.yaml", c.file})
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s…", err, c.want)
			}
			if err := closing(ctx); err != nil {
				t.Error(err)
			}
			gone(namespaces, "labctl-refused")
		})
	}

	t.Run("leaves alone a user's object", func(t *testing.T) {
		classes := schema.GroupVersionResource{Group: "node.k8s.io", Version: "v1", Resource: "runtimeclasses"}
		users := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "other"}}
		users.SetName("users")
		if _, err := a.objects.Resource(classes).Create(ctx, users, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		closing, err := a.Open(ctx, "labctl-class", []string{"class.yaml"})
		if err == nil || !strings.HasPrefix(err.Error(), "class.yaml:5: RuntimeClass users: there is one already that this lab didn't make") {
			t.Errorf("got %v", err)
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
		kept, err := a.objects.Resource(classes).Get(ctx, "users", metav1.GetOptions{})
		if err != nil || kept.Object["handler"] != "other" {
			t.Errorf("the user's object: %v, %v", kept, err)
		}
	})

	t.Run("leaves alone a user's namespace", func(t *testing.T) {
		users := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
		users.SetName("labctl-users")
		if _, err := a.objects.Resource(namespaces).Create(ctx, users, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		closing, err := a.Open(ctx, "labctl-users", nil)
		if err == nil || !strings.HasPrefix(err.Error(), "namespace labctl-users exists and labctl didn't make it") {
			t.Errorf("got %v", err)
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
		kept, err := a.objects.Resource(namespaces).Get(ctx, "labctl-users", metav1.GetOptions{})
		if err != nil || kept.GetDeletionTimestamp() != nil {
			t.Errorf("the user's namespace: %v, %v", kept, err)
		}
	})

	t.Run("takes over from a killed run", func(t *testing.T) {
		killed := &Session{Applier: a, namespace: "labctl-killed"}
		if err := killed.create(ctx, "labctl-killed"); err != nil {
			t.Fatal(err)
		}
		stale := []byte(`{"metadata":{"annotations":{"` + HeldUntil + `":"2020-01-01T00:00:00Z"}}}`)
		before, err := a.objects.Resource(namespaces).Patch(ctx, "labctl-killed", "application/merge-patch+json", stale, metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		closing, err := a.Open(ctx, "labctl-killed", []string{"good.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		after, err := a.objects.Resource(namespaces).Get(ctx, "labctl-killed", metav1.GetOptions{})
		if err != nil || after.GetUID() == before.GetUID() {
			t.Errorf("the namespace was not made anew: %v", err)
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
	})

	t.Run("keeps off a run beside it", func(t *testing.T) {
		closing, err := a.Open(ctx, "labctl-beside", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Open(ctx, "labctl-beside", nil); err == nil || !strings.HasPrefix(err.Error(), "another run of labctl uses namespace labctl-beside") {
			t.Errorf("got %v", err)
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
	})

	t.Run("a kubeconfig without rights", func(t *testing.T) {
		powerless := rest.CopyConfig(config)
		powerless.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
		b := newApplier(t, powerless, fstest.MapFS{})
		if _, err := b.Facts(ctx); err == nil || !strings.Contains(err.Error(), `listing nodes: nodes is forbidden: User "nobody"`) {
			t.Errorf("Facts: %v", err)
		}
		closing, err := b.Open(ctx, "labctl-powerless", nil)
		if err == nil || !strings.Contains(err.Error(), `namespaces "labctl-powerless" is forbidden: User "nobody"`) {
			t.Errorf("Open: %v", err)
		}
		if err := closing(ctx); err != nil {
			t.Error(err)
		}
	})

	facts, err := a.Facts(ctx)
	if err != nil || !strings.HasPrefix(facts.Version, "v1.") {
		t.Errorf("facts: %+v, %v", facts, err)
	}
}

func TestOpenWithoutAServer(t *testing.T) {
	a := newApplier(t, &rest.Config{Host: "http://127.0.0.1:1"}, fstest.MapFS{})
	closing, err := a.Open(t.Context(), "labctl-none", nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
	if err := closing(t.Context()); err != nil {
		t.Error(err)
	}
}
