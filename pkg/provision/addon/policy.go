package addon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

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
		if err := remount(ctx, objects); err != nil {
			return err
		}
		templates := schema.GroupVersionResource{Group: "templates.gatekeeper.sh", Version: "v1", Resource: "constrainttemplates"}
		// The schema allows it: only the webhook can refuse it.
		_, err = objects.Resource(templates).Create(ctx, brokenTemplate(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refusal(err)
	},
}

// remount has the kubelet look at the Pods' volumes as soon as their Secret
// has the certificates that Gatekeeper makes for itself: a Pod that changes is
// synced at once, one that doesn't only about every minute (the kubelet's
// syncFrequency), and until then the webhook has nothing to serve with. The
// kubelet may not have seen the Secret when it looks first, so the Pods change
// again as long as the webhook isn't ready.
func remount(ctx context.Context, objects dynamic.Interface) error {
	const namespace, annotation = "gatekeeper-system", "labctl.dev/certificates"
	secrets := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(namespace)
	secret, err := secrets.Get(ctx, "gatekeeper-webhook-server-cert", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if data, _, _ := unstructured.NestedMap(secret.Object, "data"); len(data) == 0 { // an error is no map
		return errors.New("it has no certificates yet")
	}
	pods := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "gatekeeper.sh/system=yes"})
	if err != nil {
		return err
	}
	turn := fmt.Sprintf("%s-%d", secret.GetResourceVersion(), time.Now().Unix()/5)
	for _, p := range list.Items {
		if p.GetAnnotations()[annotation] == turn {
			continue
		}
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, annotation, turn)
		if _, err := pods.Patch(ctx, p.GetName(), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
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
