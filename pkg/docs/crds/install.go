package crds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

var resource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

const (
	// parallel is how many definitions are created side by side.
	parallel = 8
	// served is how long an API server may take from the last creation until
	// it serves all kinds, poll how often it is asked: each answer is large.
	served = 2 * time.Minute
	poll   = 100 * time.Millisecond
)

// Install creates definitions and waits until the API server serves all of
// their versions. A definition that is there already is kept as it is. One
// whose CEL rules use functions of a newer Kubernetes goes in without its
// rules. The error names every definition that the server refuses.
func Install(ctx context.Context, cfg *rest.Config, definitions []*unstructured.Unstructured) error {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // no limit of the client's own
	cfg.WarningHandler = rest.NoWarnings{}
	dynamicClient, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	client := dynamicClient.Resource(resource)
	refused := make([]error, len(definitions))
	g := errgroup.Group{}
	g.SetLimit(parallel)
	for i, d := range definitions {
		g.Go(func() error {
			_, err := client.Create(ctx, d, metav1.CreateOptions{FieldManager: "labctl"})
			if newerRules(err) {
				_, err = client.Create(ctx, withoutRules(d), metav1.CreateOptions{FieldManager: "labctl"})
			}
			if err != nil && !apierrors.IsAlreadyExists(err) {
				refused[i] = fmt.Errorf("CustomResourceDefinition %s: %w", d.GetName(), err)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in refused
	if err := errors.Join(refused...); err != nil {
		return err
	}
	return wait(ctx, cfg, definitions)
}

// rules is the keyword of CEL rules in a schema.
const rules = "x-kubernetes-validations"

// newerRules says that all that an API server refuses of a definition are rules
// with functions that it doesn't know ("undeclared reference" is what cel-go
// calls them).
func newerRules(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) {
		return false
	}
	details := status.Status().Details
	if details == nil || len(details.Causes) == 0 {
		return false
	}
	for _, c := range details.Causes {
		if !strings.Contains(c.Field, rules) || !strings.Contains(c.Message, "undeclared reference") {
			return false
		}
	}
	return true
}

// withoutRules is a definition that has no CEL rules.
func withoutRules(definition *unstructured.Unstructured) *unstructured.Unstructured {
	definition = definition.DeepCopy()
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			// A property of this name would have a schema, not a list.
			if _, list := v[rules].([]any); list {
				delete(v, rules)
			}
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(definition.Object)
	return definition
}

// wait returns when discovery has all versions that the definitions serve.
func wait(ctx context.Context, cfg *rest.Config, definitions []*unstructured.Unstructured) error {
	client, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, served, fmt.Errorf("after %s", served))
	defer cancel()
	for {
		// Partial results count: what is missing is asked for again.
		_, lists, _ := client.ServerGroupsAndResources()
		there := map[schema.GroupVersionResource]bool{}
		for _, l := range lists {
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil {
				continue
			}
			for _, r := range l.APIResources {
				there[gv.WithResource(r.Name)] = true
			}
		}
		var missing []string
		for _, d := range definitions {
			for _, gvr := range serves(d) {
				if !there[gvr] {
					missing = append(missing, gvr.GroupResource().String()+" "+gvr.Version)
				}
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server doesn't serve %d resources, such as %s: %w", len(missing), missing[0], context.Cause(ctx))
		case <-time.After(poll):
		}
	}
}

// serves are the resources that a definition has served.
func serves(definition *unstructured.Unstructured) []schema.GroupVersionResource {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "plural")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	var out []schema.GroupVersionResource
	for _, v := range versions {
		version, _ := v.(map[string]any)
		if on, _ := version["served"].(bool); on {
			name, _ := version["name"].(string)
			out = append(out, schema.GroupVersionResource{Group: group, Version: name, Resource: plural})
		}
	}
	return out
}
