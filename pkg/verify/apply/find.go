package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
)

// kindLimit is how long a kind may take to be served after its
// CustomResourceDefinition was made.
const kindLimit = 15 * time.Second

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Find finds the resource of a kind. apiVersion may be empty where the kind is
// in one group, or in one that Kubernetes has by itself. Where the API server
// has no such kind, the error is a *meta.NoKindMatchError.
func (a *Applier) Find(ctx context.Context, apiVersion, kind string) (*meta.RESTMapping, error) {
	find := func() (*meta.RESTMapping, error) {
		gvk, err := a.identify(apiVersion, kind)
		if err != nil {
			return nil, err
		}
		return a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	mapping, err := find()
	if !meta.IsNoMatchError(err) {
		return mapping, err
	}
	// What was discovered may be older than the kind.
	a.mapper.Reset()
	if mapping, err = find(); !meta.IsNoMatchError(err) || !a.defined(ctx, apiVersion, kind) {
		return mapping, err
	}
	last := err
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, kindLimit, false, func(context.Context) (bool, error) {
		a.mapper.Reset()
		mapping, last = find()
		return last == nil, nil
	})
	if err != nil {
		return nil, last
	}
	return mapping, nil
}

// identify finds the group and version of a kind.
func (a *Applier) identify(apiVersion, kind string) (schema.GroupVersionKind, error) {
	if apiVersion != "" {
		gv, err := schema.ParseGroupVersion(apiVersion)
		if err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("apiVersion: %w", err)
		}
		return gv.WithKind(kind), nil
	}
	// The lists of groups that don't answer (an add-on that is starting) are
	// missing, which matters only to those who want a kind of theirs.
	lists, err := discovery.ServerPreferredResources(a.server)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return schema.GroupVersionKind{}, fmt.Errorf("asking for the kinds: %w", err)
	}
	var found []schema.GroupVersionKind
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // nothing that a kind of ours could be in
		}
		if slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == kind && !strings.Contains(r.Name, "/") }) {
			found = append(found, gv.WithKind(kind))
		}
	}
	return choose(kind, found)
}

// choose takes the only kind, or the one that comes with Kubernetes: it is in
// the core group, in one without a dot, or in one of *.k8s.io, in this order.
func choose(kind string, found []schema.GroupVersionKind) (schema.GroupVersionKind, error) {
	rank := func(k schema.GroupVersionKind) int {
		switch {
		case k.Group == "":
			return 0
		case !strings.Contains(k.Group, "."):
			return 1
		case strings.HasSuffix(k.Group, ".k8s.io"):
			return 2
		}
		return 3
	}
	slices.SortStableFunc(found, func(a, b schema.GroupVersionKind) int { return rank(a) - rank(b) })
	switch {
	case len(found) == 0:
		return schema.GroupVersionKind{}, &meta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: kind}}
	case len(found) > 1 && rank(found[0]) == rank(found[1]):
		var versions []string
		for _, k := range found {
			versions = append(versions, k.GroupVersion().String())
		}
		return schema.GroupVersionKind{}, fmt.Errorf("the kind %s is in %s; write its apiVersion", kind, strings.Join(versions, ", "))
	}
	return found[0], nil
}

// stored says whether objects of the kind stay. Those that can't be deleted
// are questions (a SubjectAccessReview) that the API server answers at once;
// it refuses labels on them.
func (a *Applier) stored(mapping *meta.RESTMapping) bool {
	list, err := a.server.ServerResourcesForGroupVersion(mapping.GroupVersionKind.GroupVersion().String())
	if err != nil {
		return true // then the request itself says what is wrong
	}
	return !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool {
		return r.Name == mapping.Resource.Resource && !slices.Contains(r.Verbs, "delete")
	})
}

// defined says whether there is a definition for a kind, which then is served
// soon.
func (a *Applier) defined(ctx context.Context, apiVersion, kind string) bool {
	list, err := a.objects.Resource(definitions).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false // the kind isn't there either way
	}
	group, _, _ := strings.Cut(apiVersion, "/")
	return slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool {
		has, _, _ := unstructured.NestedString(u.Object, "spec", "group") // the schema of definitions has both
		name, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		return name == kind && (apiVersion == "" || has == group)
	})
}
