package runtimes

import (
	"context"
	"fmt"
	"slices"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applynodev1 "k8s.io/client-go/applyconfigurations/node/v1"
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

// k3sOwner is the annotation by which K3s knows what it made from its folder
// of manifests, and its value (rancher/wrangler's pkg/apply, k3s-io/k3s's
// pkg/deploy).
const k3sOwner, k3sAddon = "objectset.rio.cattle.io/owner-gvk", "k3s.cattle.io/v1, Kind=Addon"

// MadeByK3s says whether K3s itself made a class: it has classes for every
// runtime that it can detect, wasmedge among them.
func MadeByK3s(class *nodev1.RuntimeClass) bool { return class.Annotations[k3sOwner] == k3sAddon }

// MadeByLabctl says whether labctl made a class.
func MadeByLabctl(class *nodev1.RuntimeClass) bool { return class.Labels[managedByLabel] == managedBy }

// Apply makes the RuntimeClasses (manifests/runtimeclasses) or brings them up
// to date; classes maps a runtime to its class's name. A class of that name
// that labctl didn't make is left as it is: it is used if it has the runtime's
// handler and K3s made it, and is an error otherwise.
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

func loadClass(runtime, name string) (*applynodev1.RuntimeClassApplyConfiguration, error) {
	file := "runtimeclasses/" + runtime + ".yaml"
	b, err := manifests.FS.ReadFile(file)
	if err != nil {
		return nil, err
	}
	class := &applynodev1.RuntimeClassApplyConfiguration{}
	if err := yaml.UnmarshalStrict(b, class); err != nil {
		return nil, fmt.Errorf("manifests/%s: %w", file, err)
	}
	return class.WithName(name), nil
}

func apply(ctx context.Context, client kubernetes.Interface, class *applynodev1.RuntimeClassApplyConfiguration) error {
	api := client.NodeV1().RuntimeClasses()
	old, err := api.Get(ctx, *class.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return err
	default:
		asItIs, err := CheckClass(old, class.Labels[provision.RuntimeLabel], MadeByK3s)
		if err != nil || asItIs {
			return err
		}
	}
	_, err = api.Apply(ctx, class, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// CheckClass says whether a class that is there is to be used as it is (else
// labctl brings it up to date), or why it can't be a runtime's.
func CheckClass(class *nodev1.RuntimeClass, runtime string, use ...func(*nodev1.RuntimeClass) bool) (asItIs bool, err error) {
	allowed := slices.ContainsFunc(use, func(ok func(*nodev1.RuntimeClass) bool) bool { return ok(class) })
	switch {
	case MadeByLabctl(class) && class.Handler == runtime:
		return false, nil
	case MadeByLabctl(class):
		return false, fmt.Errorf("it has the handler %s, which can't be changed to %s; delete it with kubectl delete runtimeclass %s, or give labctl's class another name", class.Handler, runtime, class.Name)
	case allowed && class.Handler == runtime:
		return true, nil
	case allowed:
		return false, fmt.Errorf("it has the handler %s, not %s; give labctl's class another name with --runtime-class %s=NAME", class.Handler, runtime, runtime)
	}
	return false, fmt.Errorf("it exists and labctl didn't make it (no label %s: %s); give labctl's class another name with --runtime-class %s=NAME", managedByLabel, managedBy, runtime)
}
