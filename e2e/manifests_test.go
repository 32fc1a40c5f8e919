//go:build e2e

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const manifestsLab = `apiVersion: labctl.dev/v1alpha1
kind: Lab
metadata: {name: manifests}
spec:
  document: docs/x.md
  title: {en: X, zh: X}
  layer: kubernetes
  manifests: [manifest.yaml]
  claims:
    - id: applied
      statement: {en: The manifest is applied before the probe runs., zh: 先应用清单再运行探针。}
      source: {heading: X, line: 1, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
      layer: kubernetes
      probes:
        - as: api
          kind: node
          with: {command: [kubectl, --kubeconfig, /etc/kubernetes/admin.conf, -n, labctl-manifests, get, configmap, greeting, -o, "jsonpath={.data.text}"]}
      decide: api.stdout == "hello"
      expect: confirmed
`

const goodManifest = `apiVersion: v1
kind: ConfigMap
metadata:
  name: greeting
data:
  text: hello
`

// TestManifests applies a lab's manifests and takes them away again, names
// the line of one that the API server refuses, and leaves alone what is the
// user's.
func TestManifests(t *testing.T) {
	_, client := shared(t)
	tests := []struct {
		name     string
		manifest string
		prepare  func(t *testing.T)
		code     int
		say      []string
	}{
		{name: "applied and removed", manifest: goodManifest, code: 0},
		{
			name: "refused by the API server", manifest: goodManifest + "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: front\nspec:\n  ports:\n    - port: 99999\n",
			code: 1, say: []string{"manifest.yaml:14", "99999"},
		},
		{
			name: "the user's namespace", manifest: goodManifest, code: 1, say: []string{"labctl-manifests"},
			prepare: func(t *testing.T) {
				ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "labctl-manifests"}}
				if _, err := client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					// Still there: labctl didn't make it, so it didn't remove it.
					if err := client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{}); err != nil {
						t.Errorf("the user's namespace: %v", err)
					}
				})
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "labs", "manifests", "lab.yaml"), manifestsLab)
			write(t, filepath.Join(dir, "manifests", "manifest.yaml"), tt.manifest)
			if tt.prepare != nil {
				tt.prepare(t)
			}
			r := labctl(t.Context(), "verify", "--name", sharedName, "--catalogue", dir, "manifests")
			if r.code != tt.code {
				t.Errorf("exit code %d, want %d", r.code, tt.code)
			}
			for _, s := range tt.say {
				if !strings.Contains(r.stdout+r.stderr, s) {
					t.Errorf("says nothing of %q", s)
				}
			}
			if t.Failed() {
				t.Logf("output:\n%s%s", r.stdout, r.stderr)
			}
			if tt.prepare == nil {
				if _, err := client.CoreV1().Namespaces().Get(t.Context(), "labctl-manifests", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
					t.Errorf("the lab's namespace is left behind: %v", err)
				}
			}
		})
	}
}

// TestKubeconfigWithoutRights wants a clear error where the user's rights
// don't reach.
func TestKubeconfigWithoutRights(t *testing.T) {
	shared(t)
	path := filepath.Join(t.TempDir(), "file", "kubeconfig")
	if err := os.WriteFile(filepath.Dir(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := labctl(t.Context(), "up", "--name", "labctl-e2e-rights", "--kubeconfig", path)
	if r.code != 3 || !strings.Contains(r.stderr, path) {
		t.Errorf("exit code %d, want 3; stderr: %s", r.code, r.stderr)
	}
}
