package apply

import (
	"context"
	"fmt"
	"maps"
	"strings"
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
func (s *Session) own(ctx context.Context) error {
	held := "" // by whom we were seen to wait
	for {
		ns, err := s.objects.Resource(namespaces).Get(ctx, s.namespace, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			err := s.create(ctx, s.namespace)
			if apierrors.IsAlreadyExists(err) {
				continue // a run beside this one was faster
			}
			if err != nil {
				return fmt.Errorf("making namespace %s: %w", s.namespace, err)
			}
			s.owned = []string{s.namespace}
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

// Begin makes the namespaces of a session, all with labels, the first one with
// its own too, and their ServiceAccounts. The session is never nil: Remove
// takes away what was made, also where Begin fails halfway.
func (a *Applier) Begin(ctx context.Context, namespaces []string, labels, own map[string]string) (*Session, error) {
	s := &Session{Applier: a, namespace: namespaces[0]}
	for _, name := range namespaces {
		if err := s.create(ctx, name, own, labels); err != nil {
			return s, fmt.Errorf("making namespace %s: %w", name, err)
		}
		s.owned, own = append(s.owned, name), nil
	}
	s.keep(ctx)
	for _, name := range namespaces {
		if err := s.account(ctx, name); err != nil {
			return s, err
		}
	}
	return s, nil
}

// Namespaces are the session's own, the one that objects go to first.
func (s *Session) Namespaces() []string { return s.owned }

// account makes a namespace's ServiceAccount: Pods are refused until it is
// there. Its controller would make the same object a little later.
func (s *Session) account(ctx context.Context, namespace string) error {
	account := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"},
	}}
	_, err := s.objects.Resource(serviceAccounts).Namespace(namespace).Create(ctx, account, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: making its ServiceAccount: %w", namespace, err)
	}
	return nil
}

func (s *Session) create(ctx context.Context, name string, labels ...map[string]string) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace"}}
	ns.SetName(name)
	all := map[string]string{}
	for _, l := range labels {
		maps.Copy(all, l)
	}
	maps.Copy(all, map[string]string{ManagedByLabel: ManagedBy, NamespaceLabel: s.namespace})
	ns.SetLabels(all)
	ns.SetAnnotations(map[string]string{HeldUntil: heldUntil()})
	_, err := s.objects.Resource(namespaces).Create(ctx, ns, metav1.CreateOptions{FieldManager: FieldManager})
	return err
}

func heldUntil() string { return time.Now().Add(hold).UTC().Format(time.RFC3339) }

// keep moves the hold on until release is called.
func (s *Session) keep(ctx context.Context) {
	ctx, s.release = context.WithCancel(ctx)
	go func() {
		for sleep(ctx, renew) == nil {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, HeldUntil, heldUntil())
			for _, name := range s.owned {
				// One that fails is made up for by the next; hold is several renewals long.
				_, _ = s.objects.Resource(namespaces).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager})
			}
		}
	}()
}

// podGrace is how long the Pods of a namespace that goes have to end, in
// seconds. kubelet still confirms the end of each.
const podGrace = 1

// remove asks for the removal of a namespace, and of its Pods at once.
func (s *Session) remove(ctx context.Context, name string) error {
	err := s.objects.Resource(namespaces).Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting namespace %s: %w", name, err)
	}
	// The namespace's own deletion gives Pods the time that they ask for. It
	// goes on, so an error here costs time only.
	grace := int64(podGrace)
	_ = s.objects.Resource(pods).Namespace(name).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &grace}, metav1.ListOptions{})
	return nil
}

// Gone waits until the namespaces are gone, or ctx ends: then it says what is
// left of them and why, as far as the API server tells.
func (s *Session) Gone(ctx context.Context) (left string, err error) {
	for _, name := range s.owned {
		last := ""
		for {
			ns, err := s.objects.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				break
			}
			if err == nil {
				last = remaining(ns)
			}
			if err := sleep(ctx, poll); err != nil {
				return strings.TrimSpace("namespace " + name + " is deleted and not gone yet " + last), err
			}
		}
	}
	return "", nil
}

// remaining is what the conditions of a namespace say that holds it up.
func remaining(ns *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(ns.Object, "status", "conditions") // none yet is fine
	var out []string
	for _, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["status"] == "True" {
			out = append(out, fmt.Sprint(m["message"]))
		}
	}
	return strings.Join(out, "; ")
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
