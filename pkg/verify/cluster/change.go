package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

type patchVerb struct{ step *Step }

func newPatch(s *Step) (verb, error) {
	p := s.Patch
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	if !p.one() {
		return nil, errors.New("patch: takes a name, not a selector")
	}
	if len(p.Merge) == 0 {
		return nil, errors.New("patch: merge is missing")
	}
	return &patchVerb{s}, nil
}

func (v *patchVerb) outputs() []evidence.Output { return answers }

func (v *patchVerb) prepare(n Names) (action, error) {
	p := *v.step.Patch
	var err error
	if p.Target, err = p.filled(n); err != nil {
		return nil, fmt.Errorf("patch: %w", err)
	}
	merge, err := n.Tree(p.Merge)
	if err != nil {
		return nil, fmt.Errorf("patch: merge: %w", err)
	}
	p.Merge = merge.(map[string]any) // as a copy of one
	return func(ctx context.Context, w *world) (evidence.Set, error) { return w.patch(ctx, p) }, nil
}

func (w *world) patch(ctx context.Context, p Patch) (evidence.Set, error) {
	client, namespace, err := w.resource(ctx, p.Target)
	if err != nil {
		return refusal(p.String(), answer{}, err)
	}
	data, err := json.Marshal(p.Merge)
	if err != nil {
		return nil, err
	}
	var sub []string
	if p.Subresource != "" {
		sub = []string{p.Subresource}
	}
	asked, a := noted(ctx)
	send := func() error {
		_, err := client.Patch(asked, p.Name, types.MergePatchType, data, metav1.PatchOptions{
			FieldManager: apply.FieldManager, FieldValidation: metav1.FieldValidationStrict,
		}, sub...)
		return err
	}
	before, err := client.Get(asked, p.Name, metav1.GetOptions{}, sub...)
	if err != nil {
		return refusal(p.String(), *a, err)
	}
	foreign := !w.ours(namespace) && before.GetLabels()[apply.NamespaceLabel] != w.namespace
	if foreign {
		mapping, err := w.applier.Find(ctx, p.APIVersion, p.Kind)
		if err != nil {
			return nil, err
		}
		err = w.note(ctx, entry{Resource: mapping.Resource, Namespace: namespace, Name: p.Name, Subresource: p.Subresource, Merge: inverse(p.Merge, before.Object)})
		if err != nil {
			return nil, err
		}
	}
	if err := send(); err != nil {
		set, err := refusal(p.String(), *a, err)
		if foreign && set != nil {
			err = errors.Join(err, w.unnote(ctx))
		}
		return set, err
	}
	return a.evidence(p.String(), true, "", ""), nil
}

type deleteVerb struct{ step *Step }

func newDelete(s *Step) (verb, error) {
	d := s.Delete
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	known := []metav1.DeletionPropagation{"", metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
	if !slices.Contains(known, d.Propagation) {
		return nil, fmt.Errorf("delete: propagation is %q; write Background, Foreground or Orphan", d.Propagation)
	}
	if d.GracePeriodSeconds != nil && *d.GracePeriodSeconds < 0 {
		return nil, fmt.Errorf("delete: gracePeriodSeconds is %d", *d.GracePeriodSeconds)
	}
	if d.Evict && d.Kind != "Pod" {
		return nil, fmt.Errorf("delete: evict is for Pods, not for a %s", d.Kind)
	}
	return &deleteVerb{s}, nil
}

func (v *deleteVerb) outputs() []evidence.Output { return answers }

func (v *deleteVerb) prepare(n Names) (action, error) {
	d := *v.step.Delete
	var err error
	if d.Target, err = d.filled(n); err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) { return w.delete(ctx, d) }, nil
}

func (w *world) delete(ctx context.Context, d Delete) (evidence.Set, error) {
	client, namespace, err := w.resource(ctx, d.Target)
	if err != nil {
		return refusal(d.String(), answer{}, err)
	}
	asked, a := noted(ctx)
	var found []unstructured.Unstructured
	if d.one() {
		o, err := client.Get(asked, d.Name, metav1.GetOptions{})
		if err != nil {
			return refusal(d.String(), *a, err)
		}
		found = append(found, *o)
	} else {
		list, err := client.List(asked, metav1.ListOptions{LabelSelector: *d.Selector})
		if err != nil {
			return refusal(d.String(), *a, err)
		}
		found = list.Items
	}
	for _, o := range found {
		if !w.mayDelete(&o, namespace) {
			return nil, fmt.Errorf("%s %s isn't the scenario's; it is left alone", o.GetKind(), o.GetName())
		}
	}
	for _, o := range found {
		if err := remove(asked, client, &o, d); err != nil {
			return refusal(d.Kind+" "+o.GetName(), *a, err)
		}
	}
	return a.evidence(d.String(), true, "", ""), nil
}

func remove(ctx context.Context, client dynamic.ResourceInterface, o *unstructured.Unstructured, d Delete) error {
	uid := o.GetUID()
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: d.GracePeriodSeconds}
	if d.Propagation != "" {
		options.PropagationPolicy = &d.Propagation
	}
	if !d.Evict {
		return client.Delete(ctx, o.GetName(), options)
	}
	eviction := &unstructured.Unstructured{Object: map[string]any{"apiVersion": policyv1.SchemeGroupVersion.String(), "kind": "Eviction"}}
	eviction.SetName(o.GetName())
	eviction.SetNamespace(o.GetNamespace())
	if d.GracePeriodSeconds != nil {
		eviction.Object["deleteOptions"] = map[string]any{"gracePeriodSeconds": *d.GracePeriodSeconds}
	}
	_, err := client.Create(ctx, eviction, metav1.CreateOptions{FieldManager: apply.FieldManager}, "eviction")
	return err
}

// mayDelete says whether an object is the scenario's: in its namespaces, made
// by it, or a volume or snapshot that was made for a claim of it.
func (w *world) mayDelete(o *unstructured.Unstructured, namespace string) bool {
	if namespace != "" {
		return w.ours(namespace) || o.GetLabels()[apply.NamespaceLabel] == w.namespace
	}
	if o.GetLabels()[apply.NamespaceLabel] == w.namespace {
		return true
	}
	for _, claim := range []string{"claimRef", "volumeSnapshotRef"} {
		if ns, _, _ := unstructured.NestedString(o.Object, "spec", claim, "namespace"); ns != "" && w.ours(ns) { // none is not ours
			return true
		}
	}
	return false
}
