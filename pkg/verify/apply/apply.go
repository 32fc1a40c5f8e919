// Package apply puts the manifests of a lab into a cluster and takes them out
// again. It makes namespaces of labctl's own, applies objects server-side,
// and touches nothing that labctl didn't make.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
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

// kindLimit is how long a kind may take to be served after its
// CustomResourceDefinition was applied.
const kindLimit = 15 * time.Second

// Applier applies manifests to one cluster.
type Applier struct {
	manifests fs.FS
	objects   dynamic.Interface
	server    discovery.DiscoveryInterface
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
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(server))
	return &Applier{manifests: manifests, objects: objects, server: server, mapper: mapper}, nil
}

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	nodes           = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
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

// Open makes the namespace and applies the manifests there, in their order.
// Errors of the API server carry file and line. Close removes all that Open
// made and waits until it is gone or ctx ends; it is never nil.
func (a *Applier) Open(ctx context.Context, namespace string, manifests []string) (func(context.Context) error, error) {
	s := &session{Applier: a, namespace: namespace}
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
	// Pods are refused until their ServiceAccount is there. Its controller
	// would make the same object a little later.
	account := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default"},
	}}
	_, err := a.objects.Resource(serviceAccounts).Namespace(namespace).Create(ctx, account, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return s.close, fmt.Errorf("namespace %s: making its ServiceAccount: %w", namespace, err)
	}
	for _, o := range objects {
		if err := s.apply(ctx, o); err != nil {
			return s.close, err
		}
	}
	return s.close, nil
}

// session is one namespace and what was applied for it.
type session struct {
	*Applier
	namespace string
	owned     bool   // the namespace is ours
	release   func() // ends the hold on it
	// outside are the objects that don't go with the namespace, in the order
	// in which they were applied.
	outside []placed
}

type placed struct {
	client dynamic.ResourceInterface
	what   string
	name   string
	uid    types.UID
}

func (s *session) apply(ctx context.Context, o Object) error {
	mapping, err := s.mapping(ctx, o)
	if err != nil {
		return o.errorf(o.lineOf(), "the API server doesn't know %s %s: %w", o.GetAPIVersion(), o.GetKind(), err)
	}
	var client dynamic.ResourceInterface = s.objects.Resource(mapping.Resource)
	inside := false
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if o.GetNamespace() == "" {
			o.SetNamespace(s.namespace)
		}
		if inside = o.GetNamespace() == s.namespace; !inside {
			if err := s.mine(ctx, o.GetNamespace()); err != nil {
				return o.errorf(o.lineOf("metadata.namespace"), "%w", err)
			}
		}
		client = s.objects.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	existing, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case err == nil && existing.GetLabels()[NamespaceLabel] != s.namespace:
		return o.errorf(o.lineOf("metadata.name"), "there is one already that this lab didn't make (label %s=%s is missing); it is left alone: choose another name", NamespaceLabel, s.namespace)
	case err != nil && !apierrors.IsNotFound(err):
		return o.errorf(o.Line(), "%w", err)
	}
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[ManagedByLabel], labels[NamespaceLabel] = ManagedBy, s.namespace
	o.SetLabels(labels)
	data, err := o.MarshalJSON()
	if err != nil {
		return o.errorf(o.Line(), "%w", err)
	}
	made, err := client.Patch(ctx, o.GetName(), types.ApplyPatchType, data, metav1.PatchOptions{
		FieldManager: FieldManager, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return refused(o, err)
	}
	if !inside {
		s.outside = append(s.outside, placed{client: client, what: o.String(), name: o.GetName(), uid: made.GetUID()})
	}
	if o.GetKind() == "CustomResourceDefinition" {
		s.mapper.Reset()
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

// mapping finds the resource of an object's kind; one whose definition was
// applied just now takes a moment to be served.
func (s *session) mapping(ctx context.Context, o Object) (*meta.RESTMapping, error) {
	kind := o.GroupVersionKind()
	find := func() (*meta.RESTMapping, error) { return s.mapper.RESTMapping(kind.GroupKind(), kind.Version) }
	mapping, err := find()
	if err == nil || !meta.IsNoMatchError(err) || !s.defines(kind.Group) {
		return mapping, err
	}
	last := err
	err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, kindLimit, false, func(context.Context) (bool, error) {
		s.mapper.Reset()
		mapping, last = find()
		return last == nil, nil
	})
	if err != nil {
		return nil, last
	}
	return mapping, nil
}

// defines says whether a definition for the group was applied: its name ends
// in the group.
func (s *session) defines(group string) bool {
	return slices.ContainsFunc(s.outside, func(p placed) bool {
		return strings.HasPrefix(p.what, "CustomResourceDefinition ") && strings.HasSuffix(p.name, "."+group)
	})
}

// mine refuses namespaces that this lab's manifests didn't make.
func (s *session) mine(ctx context.Context, name string) error {
	ns, err := s.objects.Resource(namespaces).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	if ns.GetLabels()[NamespaceLabel] != s.namespace {
		return fmt.Errorf("namespace %s isn't the lab's; leave metadata.namespace out, or make the namespace in the manifests", name)
	}
	return nil
}

// close removes what the session made: first what stands outside of the
// namespace, the latest first, then the namespace.
func (s *session) close(ctx context.Context) error {
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
	if s.owned {
		s.release()
		if err := s.remove(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
