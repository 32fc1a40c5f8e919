//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

var (
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	stages      = "stages.kwok.x-k8s.io"
)

// addonState is what labctl addon list says of one.
func addonState(t *testing.T, name string) string {
	t.Helper()
	var list []struct{ Name, State string }
	if err := json.Unmarshal([]byte(must(t, "addon", "list", "--name", sharedName, "-o", "json").stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Name == name {
			return a.State
		}
	}
	t.Fatalf("there is no add-on %s", name)
	return ""
}

// TestAddon takes one add-on through its life: refused where something of the
// same name is there, up, used, killed halfway, up again, down without a rest.
func TestAddon(t *testing.T) {
	config, client := shared(t)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	crds := objects.Resource(definitions)

	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "kwok-controller", Namespace: "kube-system"}}
	if _, err := client.CoreV1().ServiceAccounts("kube-system").Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := labctl(ctx, "addon", "up", "kwok", "--name", sharedName)
	if r.code != 3 || !strings.Contains(r.stderr, "ServiceAccount kube-system/kwok-controller is there already") {
		t.Errorf("with another's ServiceAccount: exit code %d\n%s", r.code, r.stderr)
	}
	if _, err := crds.Get(ctx, stages, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("something was applied nonetheless: %v", err)
	}
	must(t, "addon", "down", "kwok", "--name", sharedName)
	if _, err := client.CoreV1().ServiceAccounts("kube-system").Get(ctx, account.Name, metav1.GetOptions{}); err != nil {
		t.Errorf("another's ServiceAccount after down: %v", err)
	}
	if err := client.CoreV1().ServiceAccounts("kube-system").Delete(ctx, account.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	must(t, "addon", "up", "kwok", "--name", sharedName)
	if s := addonState(t, "kwok"); s != "up" {
		t.Errorf("state %q after up", s)
	}
	played(t, client)
	must(t, "addon", "up", "kwok", "--name", sharedName)
	must(t, "addon", "down", "kwok", "--name", sharedName)
	withoutRest(t, client, objects)

	// Killed when its first object is there.
	cmd := command(ctx, "addon", "up", "kwok", "--name", sharedName)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := crds.Get(ctx, stages, metav1.GetOptions{})
		if err == nil {
			break
		}
		if !apierrors.IsNotFound(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if s := addonState(t, "kwok"); s != "begun" {
		t.Errorf("state %q after a kill", s)
	}
	must(t, "addon", "up", "kwok", "--name", sharedName)
	played(t, client)
	must(t, "addon", "down", "--all", "--name", sharedName)
	withoutRest(t, client, objects)
}

// TestAddonOfTheCluster: what a cluster has by itself is used and never removed.
func TestAddonOfTheCluster(t *testing.T) {
	config, _ := shared(t)
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	crds := objects.Resource(definitions)
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": stages},
		"spec": map[string]any{
			"group": "kwok.x-k8s.io", "scope": "Cluster",
			"names": map[string]any{"kind": "Stage", "plural": "stages", "singular": "stage", "listKind": "StageList"},
			"versions": []any{map[string]any{
				"name": "v1alpha1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	if _, err := crds.Create(ctx, crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = crds.Delete(ctx, stages, metav1.DeleteOptions{}) }() // the cluster goes anyway
	if s := addonState(t, "kwok"); s != "the cluster's own" {
		t.Errorf("state %q", s)
	}
	r := labctl(ctx, "addon", "down", "kwok", "--name", sharedName)
	if r.code != 3 || !strings.Contains(r.stderr, "and stays") {
		t.Errorf("down: exit code %d\n%s", r.code, r.stderr)
	}
	if _, err := crds.Get(ctx, stages, metav1.GetOptions{}); err != nil {
		t.Errorf("after down: %v", err)
	}
}

// played makes a Node that nothing stands behind, and sees kwok play it.
func played(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	ctx := t.Context()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "played", Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"}, Labels: map[string]string{"type": "kwok"}},
		Spec:       corev1.NodeSpec{Unschedulable: true},
	}
	if _, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}) }() // seen below
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		n, err := client.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the Node isn't Ready: %+v", n.Status.Conditions)
		}
	}
}

// withoutRest looks for everything that kwok's manifests have.
func withoutRest(t *testing.T, client kubernetes.Interface, objects dynamic.Interface) {
	t.Helper()
	ctx := t.Context()
	const system, name = "kube-system", "kwok-controller"
	get := metav1.GetOptions{}
	left := map[string]error{}
	_, left["CustomResourceDefinition"] = objects.Resource(definitions).Get(ctx, stages, get)
	_, left["ClusterRole"] = client.RbacV1().ClusterRoles().Get(ctx, name, get)
	_, left["ClusterRoleBinding"] = client.RbacV1().ClusterRoleBindings().Get(ctx, name, get)
	_, left["ServiceAccount"] = client.CoreV1().ServiceAccounts(system).Get(ctx, name, get)
	_, left["Deployment"] = client.AppsV1().Deployments(system).Get(ctx, name, get)
	_, left["marker"] = client.CoreV1().ConfigMaps(system).Get(ctx, "labctl-addon-kwok", get)
	_, left["Node of the proof"] = client.CoreV1().Nodes().Get(ctx, "labctl-kwok-ready", get)
	for what, err := range left {
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s after down: %v", what, err)
		}
	}
	pods, err := client.CoreV1().Pods(system).List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil || len(pods.Items) > 0 {
		t.Errorf("%d Pods after down, %v", len(pods.Items), err)
	}
	if s := addonState(t, "kwok"); s != "absent" {
		t.Errorf("state %q after down", s)
	}
}
