// Package apply puts the manifests of a lab into a cluster and takes them out
// again. It makes namespaces of labctl's own, applies objects server-side,
// and touches nothing that labctl didn't make.
package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// FieldManager is labctl's name in managedFields.
const FieldManager = "labctl"

// The labels of what labctl makes. NamespaceLabel names the lab's namespace
// that an object was applied for, so that it can stand outside of it.
const (
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "labctl"
	NamespaceLabel = "labctl.dev/namespace"
)

// Applier applies manifests to one cluster.
type Applier struct {
	manifests fs.FS
	objects   dynamic.Interface
	server    discovery.CachedDiscoveryInterface
	mapper    *restmapper.DeferredDiscoveryRESTMapper
}

// New makes an Applier for the cluster of a configuration. Paths of manifests
// are relative to the root of manifests.
func New(config *rest.Config, manifests fs.FS) (*Applier, error) {
	config = rest.CopyConfig(config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	server := memory.NewMemCacheClient(discover)
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(server)
	return &Applier{manifests: manifests, objects: objects, server: server, mapper: mapper}, nil
}

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes           = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	pods            = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// Facts says what cluster it is.
func (a *Applier) Facts(ctx context.Context) (result.Cluster, error) {
	list, err := a.objects.Resource(nodes).List(ctx, metav1.ListOptions{})
	if err != nil {
		return result.Cluster{}, fmt.Errorf("listing nodes: %w", err)
	}
	version, err := a.server.ServerVersion()
	if err != nil {
		return result.Cluster{}, fmt.Errorf("asking for the version: %w", err)
	}
	cluster := result.Cluster{Version: version.GitVersion, Nodes: []result.Node{}}
	for _, item := range list.Items {
		info := func(field string) string {
			text, _, _ := unstructured.NestedString(item.Object, "status", "nodeInfo", field) // "" if it isn't there
			return text
		}
		cluster.Nodes = append(cluster.Nodes, result.Node{
			Name: item.GetName(), Kernel: info("kernelVersion"), OS: info("osImage"), Runtime: info("containerRuntimeVersion"),
		})
	}
	return cluster, nil
}

// Objects is the client of all the cluster's objects.
func (a *Applier) Objects() dynamic.Interface { return a.objects }

// Open makes the namespace and applies the manifests there, in their order.
// Errors of the API server carry file and line. Close removes all that Open
// made and waits until it is gone or ctx ends; it is never nil.
func (a *Applier) Open(ctx context.Context, namespace string, manifests []string) (func(context.Context) error, error) {
	s := &Session{Applier: a, namespace: namespace}
	var objects []Object
	for _, path := range manifests {
		parsed, err := Parse(a.manifests, path)
		if err != nil {
			return s.close, err
		}
		objects = append(objects, parsed...)
	}
	if err := s.own(ctx); err != nil {
		return s.close, err
	}
	if err := s.account(ctx, namespace); err != nil {
		return s.close, err
	}
	for _, o := range objects {
		if _, err := s.Apply(ctx, o, ServerSide); err != nil {
			return s.close, err
		}
	}
	return s.close, nil
}

// Session is a namespace of labctl's own, or several, and what was applied
// for it.
type Session struct {
	*Applier
	namespace string
	owned     []string // the namespaces that are ours, namespace first
	release   func()   // ends the hold on them
	// outside are the objects that don't go with the namespaces, in the order
	// in which they were applied.
	outside []placed
}

type placed struct {
	client dynamic.ResourceInterface
	what   string
	name   string
	uid    types.UID
}

// Mode is how an object is sent.
type Mode string

// The modes: server-side apply (KEP-555), a POST, and server-side apply that
// asks only (dry run: all of the admission, nothing stored).
const (
	ServerSide Mode = ""
	Create     Mode = "create"
	DryRun     Mode = "dry-run"
)

// Apply sends an object, strictly (an unknown field is refused), and returns
// what the API server answers. An object outside of the session's namespaces
// that the session didn't make is an error and left alone. A refusal is an
// error that wraps an apierrors.APIStatus, or a *meta.NoKindMatchError where
// the API server has no such kind.
func (s *Session) Apply(ctx context.Context, o Object, mode Mode) (*unstructured.Unstructured, error) {
	mapping, err := s.Find(ctx, o.GetAPIVersion(), o.GetKind())
	if err != nil {
		return nil, o.errorf(o.lineOf(), "the API server doesn't know %s %s: %w", o.GetAPIVersion(), o.GetKind(), err)
	}
	if o.GetName() == "" && mode != Create {
		return nil, o.errorf(o.Line(), "has no metadata.name; server-side apply needs one")
	}
	var client dynamic.ResourceInterface = s.objects.Resource(mapping.Resource)
	inside := false
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if o.GetNamespace() == "" {
			o.SetNamespace(cmp.Or(o.Home, s.namespace))
		}
		if inside = slices.Contains(s.owned, o.GetNamespace()); !inside && mode != DryRun {
			if err := s.mine(ctx, o.GetNamespace()); err != nil {
				return nil, o.errorf(o.lineOf("metadata.namespace"), "%w", err)
			}
		}
		client = s.objects.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	if !inside && mode == ServerSide {
		if err := s.free(ctx, client, o); err != nil {
			return nil, err
		}
	}
	stored := s.stored(mapping)
	if stored {
		labels := o.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[ManagedByLabel], labels[NamespaceLabel] = ManagedBy, s.namespace
		o.SetLabels(labels)
	}
	made, err := send(ctx, client, o, mode)
	if err != nil {
		return nil, refused(o, err)
	}
	if !inside && mode != DryRun && stored {
		s.outside = append(s.outside, placed{client: client, what: o.String(), name: made.GetName(), uid: made.GetUID()})
	}
	if o.GetKind() == "CustomResourceDefinition" {
		s.mapper.Reset()
	}
	return made, nil
}

func send(ctx context.Context, client dynamic.ResourceInterface, o Object, mode Mode) (*unstructured.Unstructured, error) {
	if mode == Create {
		return client.Create(ctx, o.Unstructured, metav1.CreateOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict})
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict}
	if mode == DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return client.Patch(ctx, o.GetName(), types.ApplyPatchType, data, options)
}

// free refuses the name of an object that this session didn't make.
func (s *Session) free(ctx context.Context, client dynamic.ResourceInterface, o Object) error {
	existing, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case err == nil && existing.GetLabels()[NamespaceLabel] != s.namespace:
		return o.errorf(o.lineOf("metadata.name"), "there is one already that this lab didn't make (label %s=%s is missing); it is left alone: choose another name", NamespaceLabel, s.namespace)
	case err != nil && !apierrors.IsNotFound(err):
		return o.errorf(o.Line(), "%w", err)
	}
	return nil
}

// refused says what the API server has against an object, at its line.
func refused(o Object, err error) error {
	paths := []string{err.Error()}
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			paths = append(paths, cause.Field)
		}
	}
	return o.errorf(o.lineOf(paths...), "the API server refuses it: %w", err)
}

// mine refuses namespaces that this lab's manifests didn't make.
func (s *Session) mine(ctx context.Context, name string) error {
	ns, err := s.objects.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if ns.GetLabels()[NamespaceLabel] != s.namespace {
		return fmt.Errorf("namespace %s isn't the lab's; leave metadata.namespace out, or make the namespace in the manifests", name)
	}
	return nil
}

// close removes what the session made and waits until it is gone, or ctx ends.
func (s *Session) close(ctx context.Context) error {
	err := s.Remove(ctx)
	_, _ = s.Gone(ctx) // the cluster goes on removing them by itself
	return err
}

// Remove asks for the removal of what the session made: first what stands
// outside of its namespaces, the latest first, then the namespaces. It
// doesn't wait.
func (s *Session) Remove(ctx context.Context) error {
	var errs []error
	for _, p := range slices.Backward(s.outside) {
		err := p.client.Delete(ctx, p.name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &p.uid},
		})
		// A conflict means that another object took the name since.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("deleting %s: %w", p.what, err))
		}
	}
	if s.release != nil {
		s.release()
	}
	for _, name := range s.owned {
		if err := s.remove(ctx, name); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
