package addon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/provision"
)

var gatekeeper = Addon{
	Name: "gatekeeper",
	Doc:  "OPA Gatekeeper: admission by ConstraintTemplates in Rego and CEL, audit, mutation",
	Images: []Image{{
		Name: "gatekeeper", Module: "gatekeeper", Requires: "github.com/open-policy-agent/gatekeeper/v3", Program: "gatekeeper",
		Version: "github.com/open-policy-agent/gatekeeper/v3/pkg/version.Version",
	}},
	Upstream: []Upstream{{
		Module: "gatekeeper", Requires: "github.com/open-policy-agent/gatekeeper/v3",
		Files: []string{"charts/gatekeeper/crds/*.yaml"},
	}},
	Manifests: true,
	Sign:      Object{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "constrainttemplates.templates.gatekeeper.sh"},
	Ready: func(ctx context.Context, cluster provision.Cluster) error {
		objects, err := dynamic.NewForConfig(cluster.RESTConfig())
		if err != nil {
			return err
		}
		if err := restart(ctx, objects); err != nil {
			return err
		}
		templates := schema.GroupVersionResource{Group: "templates.gatekeeper.sh", Version: "v1", Resource: "constrainttemplates"}
		// The schema allows it: only the webhook can refuse it.
		_, err = objects.Resource(templates).Create(ctx, brokenTemplate(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refusal(err)
	},
}

// The Secret of Gatekeeper's certificates, and what says that its Pods started
// anew since it has them.
const (
	gatekeeperNamespace  = "gatekeeper-system"
	gatekeeperSecret     = "gatekeeper-webhook-server-cert"
	restartedAnnotation  = "labctl.dev/pods-restarted"
	gatekeeperPodsLabels = "gatekeeper.sh/system=yes"
)

// restart replaces the Pods that started before Gatekeeper had made its
// certificates, once. Such a Pod looks for the files at intervals that double
// (cert-controller, ensureCertsMounted), and the kubelet updates their volume
// about once a minute, so its webhook may take minutes; a new Pod has them
// from the start.
func restart(ctx context.Context, objects dynamic.Interface) error {
	secrets := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(gatekeeperNamespace)
	secret, err := secrets.Get(ctx, gatekeeperSecret, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if data, _, _ := unstructured.NestedMap(secret.Object, "data"); len(data) == 0 { // an error is no map
		return errors.New("it has no certificates yet")
	}
	if _, ok := secret.GetAnnotations()[restartedAnnotation]; ok {
		return nil
	}
	pods := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(gatekeeperNamespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: gatekeeperPodsLabels})
	if err != nil {
		return err
	}
	for _, p := range list.Items {
		if err := pods.Delete(ctx, p.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"true"}}}`, restartedAnnotation)
	if _, err := secrets.Patch(ctx, gatekeeperSecret, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return errors.New("its Pods start anew with their certificates")
}

// refusal is an error unless err is the webhook's refusal.
func refusal(err error) error {
	switch {
	case err == nil:
		return errors.New("its webhook doesn't look at ConstraintTemplates yet")
	case apierrors.IsNotFound(err), !strings.Contains(err.Error(), "validation.gatekeeper.sh"):
		return fmt.Errorf("its webhook: %w", err)
	}
	return nil
}

// brokenTemplate is a ConstraintTemplate whose kind isn't the one of its name.
func brokenTemplate() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "templates.gatekeeper.sh/v1",
		"kind":       "ConstraintTemplate",
		"metadata":   map[string]any{"name": "labctlready"},
		"spec": map[string]any{
			"crd": map[string]any{"spec": map[string]any{"names": map[string]any{"kind": "LabctlOther"}}},
			"targets": []any{map[string]any{
				"target": "admission.k8s.gatekeeper.sh",
				"rego":   "package labctlready\n\nviolation[{\"msg\": msg}] { msg := \"no\" }\n",
			}},
		},
	}}
}
