//go:build e2e

package crds_test

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
)

// Every definition that labctl carries is taken by each API server that it
// pins, and judges its objects strictly.
func TestInstall(t *testing.T) {
	versions, err := apiserver.Versions()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { testInstall(t, v) })
	}
}

func testInstall(t *testing.T, version string) {
	s, err := apiserver.Start(t.Context(), apiserver.Options{Version: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	all, err := crds.Objects()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := crds.Install(t.Context(), s.Config(), all); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d definitions in %s", s.Version(), len(all), time.Since(start).Round(time.Millisecond))
	if err := crds.Install(t.Context(), s.Config(), all); err != nil {
		t.Errorf("a second time: %v", err)
	}

	client, err := dynamic.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	objects := []struct {
		name, text string
		resource   schema.GroupVersionResource
		refused    string
	}{
		{"right", "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSigned: {}}\n",
			schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "issuers"}, ""},
		{"unknown field", "apiVersion: cert-manager.io/v1\nkind: Issuer\nmetadata: {name: a}\nspec: {selfSinged: {}}\n",
			schema.GroupVersionResource{Group: "cert-manager.io", Version: "v1", Resource: "issuers"}, `unknown field "spec.selfSinged"`},
		{"a type", "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {replicas: two}\n",
			schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "rollouts"}, "spec.replicas"},
		{"a rule in CEL", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec: {rules: [{backendRefs: [{name: b}]}]}\n",
			schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}, "Must have port for Service reference"},
	}
	for _, o := range objects {
		t.Run(o.name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(o.text), &u.Object); err != nil {
				t.Fatal(err)
			}
			_, err := client.Resource(o.resource).Namespace("default").Create(t.Context(), u, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict,
			})
			if o.refused == "" && err != nil || o.refused != "" && (err == nil || !strings.Contains(err.Error(), o.refused)) {
				t.Errorf("%v, want %q", err, o.refused)
			}
		})
	}

	t.Run("one that is none", func(t *testing.T) {
		bad := all[0].DeepCopy()
		bad.SetName("things.example.com")
		err := crds.Install(t.Context(), s.Config(), []*unstructured.Unstructured{bad})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "things.example.com") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an ended context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := crds.Install(ctx, s.Config(), all); err == nil {
			t.Error("no error")
		}
	})
}
