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
		templates := schema.GroupVersionResource{Group: "templates.gatekeeper.sh", Version: "v1", Resource: "constrainttemplates"}
		// The schema allows it: only the webhook can refuse it.
		_, err = objects.Resource(templates).Create(ctx, brokenTemplate(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refusal(err)
	},
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
