package apply

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// HeldUntil is the annotation by which a run holds its namespace: RFC 3339,
// moved on while the run lives. So a run beside it keeps off, and what a
// killed run left is found.
const HeldUntil = "labctl.dev/held-until"

const (
	hold  = 15 * time.Second // a namespace is held for, each time
	renew = 4 * time.Second
	poll  = 250 * time.Millisecond
)

// own makes the namespace. One that a killed run left is removed first.
func (s *session) own(ctx context.Context) error {
	held := "" // by whom we were seen to wait
	for {
		ns, err := s.objects.Resource(namespaces).Get(ctx, s.namespace, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			err := s.create(ctx)
			if apierrors.IsAlreadyExists(err) {
				continue // a run beside this one was faster
			}
			if err != nil {
				return fmt.Errorf("making namespace %s: %w", s.namespace, err)
			}
			s.owned = true
			s.keep(ctx)
			return nil
		case err != nil:
			return fmt.Errorf("namespace %s: %w", s.namespace, err)
		case ns.GetLabels()[ManagedByLabel] != ManagedBy:
			return fmt.Errorf("namespace %s exists and labctl didn't make it (label %s=%s is missing); it is left alone: rename or delete it, then run again",
				s.namespace, ManagedByLabel, ManagedBy)
		case ns.GetDeletionTimestamp() != nil:
			// Its Pods are ending; then it goes by itself.
		default:
			until := ns.GetAnnotations()[HeldUntil]
			if held != "" && until != held {
				return fmt.Errorf("another run of labctl uses namespace %s (held until %s); wait for it to end", s.namespace, until)
			}
			held = until
			if t, err := time.Parse(time.RFC3339, until); err != nil || time.Now().After(t) {
				uid := ns.GetUID()
				err := s.objects.Resource(namespaces).Delete(ctx, s.namespace, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
				if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
					return fmt.Errorf("namespace %s, left by an earlier run: %w", s.namespace, err)
				}
			}
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("waiting for namespace %s to be free: %w", s.namespace, err)
		}
	}
}

func (s *session) create(ctx context.Context) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(s.namespace)
	ns.SetLabels(map[string]string{ManagedByLabel: ManagedBy, NamespaceLabel: s.namespace})
	ns.SetAnnotations(map[string]string{HeldUntil: heldUntil()})
	_, err := s.objects.Resource(namespaces).Create(ctx, ns, metav1.CreateOptions{FieldManager: FieldManager})
	return err
}

func heldUntil() string { return time.Now().Add(hold).UTC().Format(time.RFC3339) }

// keep moves the hold on until release is called.
func (s *session) keep(ctx context.Context) {
	ctx, s.release = context.WithCancel(ctx)
	go func() {
		for sleep(ctx, renew) == nil {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, HeldUntil, heldUntil())
			// One that fails is made up for by the next; hold is several renewals long.
			_, _ = s.objects.Resource(namespaces).Patch(ctx, s.namespace, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
		}
	}()
}

// remove deletes the namespace and waits until it is gone or ctx ends; then
// the cluster goes on removing it by itself.
func (s *session) remove(ctx context.Context) error {
	client := s.objects.Resource(namespaces)
	err := client.Delete(ctx, s.namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting namespace %s: %w", s.namespace, err)
	}
	for {
		_, err := client.Get(ctx, s.namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) || sleep(ctx, poll) != nil {
			return nil
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
