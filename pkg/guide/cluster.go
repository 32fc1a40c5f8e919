package guide

import (
	"context"
	"embed"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
)

// Cluster is where a person works. It is a Looker.
type Cluster struct {
	applier *apply.Applier
	objects dynamic.Interface
	server  discovery.DiscoveryInterface
}

// New makes the Cluster of a configuration.
func New(config *rest.Config) (*Cluster, error) {
	applier, err := apply.New(config, embed.FS{}) // nothing is applied
	if err != nil {
		return nil, err
	}
	server, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	return &Cluster{applier: applier, objects: applier.Objects(), server: server}, nil
}

// Look implements Looker.
func (c *Cluster) Look(ctx context.Context, check *lab.Check) (cluster.Objects, error) {
	found := cluster.Objects{One: check.Selector == nil}
	mapping, err := c.applier.Find(ctx, check.APIVersion, check.Kind)
	switch {
	case meta.IsNoMatchError(err):
		return found, fmt.Errorf("%w %s", ErrUnknownKind, check.Kind)
	case err != nil:
		return found, fmt.Errorf("kind %s: %w", check.Kind, err)
	}
	var client dynamic.ResourceInterface = c.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		client = c.objects.Resource(mapping.Resource).Namespace(check.In())
	}
	if check.Selector != nil {
		list, err := client.List(ctx, metav1.ListOptions{LabelSelector: *check.Selector})
		if err != nil {
			return found, fmt.Errorf("listing %s: %w", mapping.Resource.Resource, err)
		}
		for _, item := range list.Items {
			found.Items = append(found.Items, item.Object)
		}
		return found, nil
	}
	object, err := client.Get(ctx, check.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return found, nil
	case err != nil:
		return found, fmt.Errorf("%s %s: %w", check.Kind, check.Name, err)
	}
	found.Items = append(found.Items, object.Object)
	return found, nil
}
