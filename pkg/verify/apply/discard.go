package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Discard asks for the removal of a namespace that a killed run left, and of
// the objects outside of it that were made for it.
func (a *Applier) Discard(ctx context.Context, namespace string) error {
	lists, err := discovery.ServerPreferredResources(a.server)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return fmt.Errorf("asking for the kinds: %w", err)
	}
	var errs []error
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			continue // nothing that an object of ours could be in
		}
		for _, r := range list.APIResources {
			if r.Namespaced || strings.Contains(r.Name, "/") || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			errs = append(errs, a.discard(ctx, gv.WithResource(r.Name), namespace))
		}
	}
	s := &Session{Applier: a, namespace: namespace, owned: []string{namespace}}
	return errors.Join(append(errs, s.Remove(ctx))...)
}

// discard deletes the objects of a resource that were made for a namespace.
func (a *Applier) discard(ctx context.Context, resource schema.GroupVersionResource, namespace string) error {
	selector := fmt.Sprintf("%s=%s,%s=%s", ManagedByLabel, ManagedBy, NamespaceLabel, namespace)
	list, err := a.objects.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("listing %s: %w", resource.Resource, err)
	}
	var errs []error
	for _, o := range list.Items {
		uid := o.GetUID()
		err := a.objects.Resource(resource).Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("deleting %s %s: %w", o.GetKind(), o.GetName(), err))
		}
	}
	return errors.Join(errs...)
}
