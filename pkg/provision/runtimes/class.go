package runtimes

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	nodev1 "k8s.io/client-go/applyconfigurations/node/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/manifests"
	"github.com/isolation-stack/labctl/pkg/provision"
)

// fieldManager owns what labctl applies (server-side apply).
const fieldManager = "labctl"

// The label of everything that labctl makes
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
const (
	managedByLabel = "app.kubernetes.io/managed-by"
	managedBy      = "labctl"
)

// Apply makes the RuntimeClasses (manifests/runtimeclasses) or brings them up
// to date; classes maps a runtime to its class's name. A class of that name
// that labctl didn't make is an error and is left as it is.
func Apply(ctx context.Context, client kubernetes.Interface, classes map[string]string) error {
	for _, runtime := range Names {
		name, wanted := classes[runtime]
		if !wanted {
			continue
		}
		class, err := loadClass(runtime, name)
		if err != nil {
			return err
		}
		if err := apply(ctx, client, class); err != nil {
			return fmt.Errorf("RuntimeClass %s: %w", name, err)
		}
	}
	return nil
}

func loadClass(runtime, name string) (*nodev1.RuntimeClassApplyConfiguration, error) {
	file := "runtimeclasses/" + runtime + ".yaml"
	b, err := manifests.FS.ReadFile(file)
	if err != nil {
		return nil, err
	}
	class := &nodev1.RuntimeClassApplyConfiguration{}
	if err := yaml.UnmarshalStrict(b, class); err != nil {
		return nil, fmt.Errorf("manifests/%s: %w", file, err)
	}
	return class.WithName(name), nil
}

func apply(ctx context.Context, client kubernetes.Interface, class *nodev1.RuntimeClassApplyConfiguration) error {
	api := client.NodeV1().RuntimeClasses()
	old, err := api.Get(ctx, *class.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	case old.Labels[managedByLabel] != managedBy:
		return fmt.Errorf("it exists and labctl didn't make it (no label %s: %s); give labctl's class another name with --runtime-class %s=NAME", managedByLabel, managedBy, class.Labels[provision.RuntimeLabel])
	case old.Handler != *class.Handler:
		return fmt.Errorf("it has the handler %s, which can't be changed to %s; delete it with kubectl delete runtimeclass %s, or give labctl's class another name", old.Handler, *class.Handler, old.Name)
	}
	_, err = api.Apply(ctx, class, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}
