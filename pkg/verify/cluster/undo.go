package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

// ledgerAnnotation of a scenario's namespace holds what has to be put back, so
// that a later run can do it for one that was killed.
const ledgerAnnotation = "labctl.dev/put-back"

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	volumes    = schema.GroupVersionResource{Version: "v1", Resource: "persistentvolumes"}
)

// entry is one object that isn't the scenario's, and the merge patch that
// makes it what it was.
type entry struct {
	Resource    schema.GroupVersionResource `json:"resource"`
	Namespace   string                      `json:"namespace,omitempty"`
	Name        string                      `json:"name"`
	Subresource string                      `json:"subresource,omitempty"`
	Merge       map[string]any              `json:"merge"`
}

type ledger []entry

// staleAfter is how long nobody must have held a namespace until it counts as
// left: a run on a machine that is out of breath renews its hold late.
const staleAfter = time.Minute

// inverse is the merge patch that undoes a merge patch of an object.
func inverse(patch, object map[string]any) map[string]any {
	out := map[string]any{}
	for key, v := range patch {
		old, there := object[key]
		if !there {
			out[key] = nil
			continue
		}
		was, isMap := old.(map[string]any)
		if deeper, ok := v.(map[string]any); ok && isMap {
			out[key] = inverse(deeper, was)
			continue
		}
		out[key] = old
	}
	return out
}

// note writes the ledger to the scenario's namespace, before the patch that
// it undoes is sent.
func (w *world) note(ctx context.Context, e entry) error {
	w.undo = append(w.undo, e)
	return w.writeLedger(ctx)
}

// unnote takes the last entry out again: its patch was refused.
func (w *world) unnote(ctx context.Context) error {
	w.undo = w.undo[:len(w.undo)-1]
	return w.writeLedger(ctx)
}

func (w *world) writeLedger(ctx context.Context) error {
	text, err := json.Marshal(w.undo)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{ledgerAnnotation: string(text)}}})
	if err != nil {
		return err
	}
	_, err = w.applier.Objects().Resource(namespaces).Patch(ctx, w.namespace, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: apply.FieldManager})
	if err != nil {
		return fmt.Errorf("noting what to put back in namespace %s: %w", w.namespace, err)
	}
	return nil
}

// putBack undoes the patches, the latest first.
func (w *world) putBack(ctx context.Context) error { return w.undo.apply(ctx, w.applier.Objects()) }

func (l ledger) apply(ctx context.Context, objects dynamic.Interface) error {
	var errs []error
	for _, e := range slices.Backward(l) {
		data, err := json.Marshal(e.Merge)
		if err != nil {
			return err
		}
		var client dynamic.ResourceInterface = objects.Resource(e.Resource)
		if e.Namespace != "" {
			client = objects.Resource(e.Resource).Namespace(e.Namespace)
		}
		var sub []string
		if e.Subresource != "" {
			sub = []string{e.Subresource}
		}
		_, err = client.Patch(ctx, e.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: apply.FieldManager}, sub...)
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("putting back %s %s: %w", e.Resource.Resource, e.Name, err))
		}
	}
	return errors.Join(errs...)
}

// freeVolumes lets go of the volumes that the scenario's claims were bound to
// and whose class retains them: they are deleted with their data.
func (w *world) freeVolumes(ctx context.Context) error {
	list, err := w.applier.Objects().Resource(volumes).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing volumes: %w", err)
	}
	var errs []error
	for _, v := range list.Items {
		claimed, _, _ := unstructured.NestedString(v.Object, "spec", "claimRef", "namespace") // none is not ours
		policy, _, _ := unstructured.NestedString(v.Object, "spec", "persistentVolumeReclaimPolicy")
		made := v.GetAnnotations()["pv.kubernetes.io/provisioned-by"] != ""
		if !w.ours(claimed) || policy != "Retain" || !made {
			continue
		}
		patch := []byte(`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
		if _, err := w.applier.Objects().Resource(volumes).Patch(ctx, v.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: apply.FieldManager}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("letting go of volume %s: %w", v.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// sweep removes what killed runs left: namespaces that nobody holds any more,
// what was made for them outside, and the patches that they didn't put back.
func (w *world) sweep(ctx context.Context) error {
	objects := w.applier.Objects()
	list, err := objects.Resource(namespaces).List(ctx, metav1.ListOptions{LabelSelector: scenarioLabel + "," + apply.ManagedByLabel + "=" + apply.ManagedBy})
	if err != nil {
		return fmt.Errorf("looking for what earlier runs left: %w", err)
	}
	for _, ns := range list.Items {
		until, err := time.Parse(time.RFC3339, ns.GetAnnotations()[apply.HeldUntil])
		if ns.GetDeletionTimestamp() != nil || err != nil || time.Now().Before(until.Add(staleAfter)) || !strings.HasPrefix(ns.GetName(), prefix) {
			continue
		}
		var undo ledger
		if text := ns.GetAnnotations()[ledgerAnnotation]; text != "" {
			if err := json.Unmarshal([]byte(text), &undo); err != nil {
				return fmt.Errorf("namespace %s, left by a run that was killed: its annotation %s: %w", ns.GetName(), ledgerAnnotation, err)
			}
		}
		if err := undo.apply(ctx, objects); err != nil {
			return fmt.Errorf("namespace %s, left by a run that was killed: %w", ns.GetName(), err)
		}
		if err := w.applier.Discard(ctx, ns.GetName()); err != nil {
			return fmt.Errorf("namespace %s, left by a run that was killed: %w", ns.GetName(), err)
		}
	}
	return nil
}
