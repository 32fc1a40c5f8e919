package addon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
)

const (
	// fieldManager is labctl's name in managedFields.
	fieldManager = "labctl"
	// kindLimit is how long a kind may take to be served after its
	// CustomResourceDefinition was applied.
	kindLimit = 30 * time.Second
	poll      = 300 * time.Millisecond
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// name is how messages call an object.
func title(o *unstructured.Unstructured) string {
	if o.GetNamespace() != "" {
		return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
	}
	return o.GetKind() + " " + o.GetName()
}

// client is for the objects of a kind. A kind that the API server doesn't
// know is a meta.NoMatchError.
func (s *Set) client(gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := s.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return s.objects.Resource(m.Resource).Namespace(namespace), nil
	}
	return s.objects.Resource(m.Resource), nil
}

// at reads an object, nil where there is none.
func (s *Set) at(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	client, err := s.client(gvk, namespace)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

// owns says whether the cluster has the component by itself.
func (s *Set) owns(ctx context.Context, a Addon) (bool, error) {
	if a.Own != nil {
		if own, err := a.Own(ctx, s.typed); err != nil || own {
			return own, err
		}
	}
	if a.Sign == (Object{}) {
		return false, nil
	}
	o, err := s.at(ctx, schema.FromAPIVersionAndKind(a.Sign.APIVersion, a.Sign.Kind), a.Sign.Namespace, a.Sign.Name)
	return o != nil && o.GetLabels()[Label] != a.Name, err
}

// foreign is an error if one of the objects is there and isn't the add-on's.
func (s *Set) foreign(ctx context.Context, a Addon, objects []*unstructured.Unstructured) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, o := range objects {
		g.Go(func() error {
			there, err := s.at(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
			if err != nil {
				return fmt.Errorf("%s: %w", title(o), err)
			}
			if there != nil && there.GetLabels()[Label] != a.Name {
				return fmt.Errorf("%s is there already and isn't labctl's (label %s=%s is missing); it is left alone, and nothing was applied: rename or remove it, then run again", title(o), Label, a.Name)
			}
			return nil
		})
	}
	return g.Wait()
}

// apply applies the objects in their order.
func (s *Set) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := s.apply1(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", title(o), err)
		}
		if o.GetKind() == "CustomResourceDefinition" || o.GetKind() == "APIService" {
			s.mapper.Reset()
		}
	}
	return nil
}

// apply1 waits for what comes a moment later: a kind after its definition, a
// namespace of the same name that is still going.
func (s *Set) apply1(ctx context.Context, o *unstructured.Unstructured) error {
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	for deadline := time.Now().Add(kindLimit); ; {
		client, err := s.client(o.GroupVersionKind(), o.GetNamespace())
		if err == nil {
			_, err = client.Patch(ctx, o.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
				FieldManager: fieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict,
			})
		}
		going := apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
		if err == nil || !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) && !going || time.Now().After(deadline) {
			return err
		}
		s.mapper.Reset()
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// rolledOut is an error while a Deployment or DaemonSet of the objects isn't
// there as a whole; it says what its Pods say.
func (s *Set) rolledOut(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		var (
			done bool
			pods *metav1.LabelSelector
		)
		switch o.GetKind() {
		case "Deployment":
			d, err := s.typed.AppsV1().Deployments(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			done, pods = deployed(d), d.Spec.Selector
		case "DaemonSet":
			d, err := s.typed.AppsV1().DaemonSets(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			st := d.Status
			done = st.ObservedGeneration >= d.Generation && st.DesiredNumberScheduled > 0 &&
				st.UpdatedNumberScheduled == st.DesiredNumberScheduled && st.NumberAvailable == st.DesiredNumberScheduled
			pods = d.Spec.Selector
		case "StatefulSet":
			d, err := s.typed.AppsV1().StatefulSets(o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			done = d.Status.ObservedGeneration >= d.Generation && d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas == *d.Spec.Replicas
			pods = d.Spec.Selector
		default:
			continue
		}
		if !done {
			return fmt.Errorf("%s isn't available%s", title(o), s.trouble(ctx, o.GetNamespace(), pods))
		}
	}
	return nil
}

func deployed(d *appsv1.Deployment) bool {
	st := d.Status
	return st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == *d.Spec.Replicas &&
		st.Replicas == *d.Spec.Replicas && st.AvailableReplicas == *d.Spec.Replicas
}

// trouble is what the Pods' containers say why they aren't running.
func (s *Set) trouble(ctx context.Context, namespace string, pods *metav1.LabelSelector) string {
	sel, err := metav1.LabelSelectorAsSelector(pods)
	if err != nil {
		sel = labels.Nothing()
	}
	list, err := s.typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: sel.String()})
	if err != nil {
		return ""
	}
	var said []string
	for _, p := range list.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
				said = append(said, p.Name+": "+c.Message)
			}
		}
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			switch {
			case c.State.Waiting != nil && c.State.Waiting.Reason != "PodInitializing" && c.State.Waiting.Reason != "ContainerCreating":
				said = append(said, fmt.Sprintf("%s/%s: %s %s%s", p.Name, c.Name, c.State.Waiting.Reason, c.State.Waiting.Message, s.lastWords(ctx, p, c)))
			case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
				said = append(said, fmt.Sprintf("%s/%s ended with %d%s", p.Name, c.Name, c.State.Terminated.ExitCode, s.lastWords(ctx, p, c)))
			}
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

// lastWords is the end of a container's log, if it has run at all.
func (s *Set) lastWords(ctx context.Context, p corev1.Pod, c corev1.ContainerStatus) string {
	lines, previous := int64(3), c.State.Waiting != nil && c.RestartCount > 0
	text, err := s.typed.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{
		Container: c.Name, TailLines: &lines, Previous: previous,
	}).DoRaw(ctx)
	if err != nil || len(text) == 0 {
		return ""
	}
	return "\n  " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n  ")
}

// labelled are the objects that carry the add-on's labels, of every kind that
// the API server serves.
func (s *Set) labelled(ctx context.Context, name string) ([]*unstructured.Unstructured, error) {
	lists, err := s.server.ServerPreferredResources()
	// A group whose server is gone is no group to look into: what serves it
	// is removed with the APIService.
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("listing kinds: %w", err)
	}
	lists = discovery.FilteredBy(discovery.SupportsAllVerbs{Verbs: []string{"list", "delete"}}, lists)
	found := make(chan []*unstructured.Unstructured)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(12)
	go func() {
		for _, l := range lists {
			gv, err := schema.ParseGroupVersion(l.GroupVersion)
			if err != nil {
				continue // no resource can be asked for by it
			}
			for _, r := range l.APIResources {
				g.Go(func() error {
					items, err := s.list(ctx, gv.WithResource(r.Name), name)
					if err == nil && len(items) > 0 {
						found <- items
					}
					return err
				})
			}
		}
		err = g.Wait()
		close(found)
	}()
	var out []*unstructured.Unstructured
	for items := range found {
		out = append(out, items...)
	}
	return out, err
}

func (s *Set) list(ctx context.Context, resource schema.GroupVersionResource, name string) ([]*unstructured.Unstructured, error) {
	if resource.Resource == "events" || resource.Resource == "componentstatuses" {
		return nil, nil
	}
	list, err := s.objects.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: selector(name)})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsMethodNotSupported(err), apierrors.IsServiceUnavailable(err):
		return nil, nil // its definition or its server went meanwhile
	case err != nil:
		return nil, fmt.Errorf("listing %s: %w", resource.Resource, err)
	}
	var out []*unstructured.Unstructured
	for i := range list.Items {
		o := &list.Items[i]
		if o.GetKind() != "ConfigMap" || o.GetName() != markerName(name) {
			out = append(out, o)
		}
	}
	return out, nil
}

// stage is in which step of the removal an object goes. What could refuse
// the others goes first; then kinds, while the controllers that finish their
// objects are still there; then aggregated APIs, without whose servers no
// namespace could end.
func stage(o *unstructured.Unstructured) int {
	switch o.GetKind() {
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
		return 0
	case "CustomResourceDefinition":
		return 1
	case "APIService":
		return 2
	case "Namespace":
		return 4
	}
	return 3
}

// clear deletes all that carries the add-on's labels and returns when it is
// gone.
func (s *Set) clear(ctx context.Context, name string) error {
	for {
		objects, err := s.labelled(ctx, name)
		if err != nil {
			return err
		}
		if len(objects) == 0 {
			return nil
		}
		first := slices.MinFunc(objects, func(a, b *unstructured.Unstructured) int { return stage(a) - stage(b) })
		var errs []error
		for _, o := range objects {
			if stage(o) > stage(first) || o.GetDeletionTimestamp() != nil {
				continue
			}
			errs = append(errs, s.delete(ctx, o))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("%s isn't gone: %w", title(first), err)
		}
		s.mapper.Reset()
	}
}

func (s *Set) delete(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := s.client(o.GroupVersionKind(), o.GetNamespace())
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	uid, background := o.GetUID(), metav1.DeletePropagationBackground
	err = client.Delete(ctx, o.GetName(), metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background,
	})
	// A conflict means that another object took the name since.
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting %s: %w", title(o), err)
	}
	return nil
}
