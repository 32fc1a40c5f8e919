package guide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

// Labels are those of the people's namespace and of what `labctl manifest`
// prints; by them Reset finds what stands outside of the namespace.
func Labels() map[string]string {
	return map[string]string{apply.ManagedByLabel: apply.ManagedBy, apply.NamespaceLabel: lab.PeopleNamespace}
}

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// Ensure makes the people's namespace if it isn't there. One that is being
// removed is waited for; one that labctl didn't make is refused.
func (c *Cluster) Ensure(ctx context.Context) error {
	for {
		ns, err := c.objects.Resource(namespaces).Get(ctx, lab.PeopleNamespace, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			made := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
			made.SetName(lab.PeopleNamespace)
			made.SetLabels(Labels())
			_, err := c.objects.Resource(namespaces).Create(ctx, made, metav1.CreateOptions{FieldManager: apply.FieldManager})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("making namespace %s: %w", lab.PeopleNamespace, err)
			}
		case err != nil:
			return fmt.Errorf("namespace %s: %w", lab.PeopleNamespace, err)
		case !ours(ns):
			return foreign()
		case ns.GetDeletionTimestamp() == nil:
			return c.account(ctx)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("waiting for namespace %s: %w", lab.PeopleNamespace, err)
		}
	}
}

// account makes the ServiceAccount without which Pods are refused; its
// controller would make the same a little later.
func (c *Cluster) account(ctx context.Context) error {
	account := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"},
	}}
	_, err := c.objects.Resource(serviceAccounts).Namespace(lab.PeopleNamespace).Create(ctx, account, metav1.CreateOptions{FieldManager: apply.FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: making its ServiceAccount: %w", lab.PeopleNamespace, err)
	}
	return nil
}

func ours(o *unstructured.Unstructured) bool {
	for name, value := range Labels() {
		if o.GetLabels()[name] != value {
			return false
		}
	}
	return true
}

func foreign() error {
	return fmt.Errorf("namespace %s exists and labctl didn't make it (the labels %s and %s are missing); it is left alone: rename or delete it, then run again",
		lab.PeopleNamespace, apply.ManagedByLabel, apply.NamespaceLabel)
}

// Reset deletes the people's namespace with all that is in it, and the
// cluster-wide objects that have its labels, and waits until they are gone or
// ctx ends. It returns what there was, as KIND NAME. What labctl didn't make
// stays.
func (c *Cluster) Reset(ctx context.Context) ([]string, error) {
	ns, err := c.objects.Resource(namespaces).Get(ctx, lab.PeopleNamespace, metav1.GetOptions{})
	if err == nil && !ours(ns) {
		return nil, foreign()
	}
	found, err := c.labelled(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	var errs []error
	for _, o := range found {
		names = append(names, o.what)
		uid := o.GetUID()
		err := o.client.Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		// A conflict means that another object took the name since.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("deleting %s: %w", o.what, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return names, err
	}
	for _, o := range found {
		if err := o.gone(ctx); err != nil {
			return names, err
		}
	}
	return names, nil
}

// outside is an object that isn't in a namespace.
type outside struct {
	*unstructured.Unstructured
	client dynamic.ResourceInterface
	what   string
}

// gone waits until the object is gone.
func (o outside) gone(ctx context.Context) error {
	for {
		now, err := o.client.Get(ctx, o.GetName(), metav1.GetOptions{})
		switch {
		// A kind goes with its CustomResourceDefinition, which is an object too.
		case apierrors.IsNotFound(err), err == nil && now.GetUID() != o.GetUID():
			return nil
		case err != nil && ctx.Err() == nil:
			return fmt.Errorf("%s: %w", o.what, err)
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("waiting for %s to be gone: %w; the cluster goes on removing it", o.what, context.Cause(ctx))
		}
	}
}

// labelled finds the cluster-wide objects that have the labels, namespaces
// last: what they hold may need what stands outside no longer.
func (c *Cluster) labelled(ctx context.Context) ([]outside, error) {
	lists, err := discovery.ServerPreferredResources(c.server)
	// Groups whose server is away (an add-on that ends) have nothing of ours
	// that could be asked for.
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("asking for the kinds: %w", err)
	}
	selector := metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: Labels()})
	var found, last []outside
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("asking for the kinds: %w", err)
		}
		for _, r := range list.APIResources {
			if r.Namespaced || !slices.Contains(r.Verbs, "list") || !slices.Contains(r.Verbs, "delete") {
				continue
			}
			client := c.objects.Resource(gv.WithResource(r.Name))
			objects, err := client.List(ctx, metav1.ListOptions{LabelSelector: selector})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", r.Name, err)
			}
			for i := range objects.Items {
				o := outside{&objects.Items[i], client, r.Kind + " " + objects.Items[i].GetName()}
				if r.Kind == "Namespace" {
					last = append(last, o)
				} else {
					found = append(found, o)
				}
			}
		}
	}
	return append(found, last...), nil
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(interval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
