package k3s

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

// ours selects everything that labctl makes
// (https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/).
var ours = metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=labctl"}

// removeObjects deletes what labctl made in K3s: namespaces that runs left
// behind, Pods of proofs, RuntimeClasses. It waits until the Pods are gone:
// the programs that they need go next. Pods of others' that use labctl's
// classes go with a K3s that goes, and are refused in one that stays.
func (p *Provider) removeObjects(ctx context.Context, stays bool, log progress.Log) (err error) {
	step := log.Start("Removing labctl's objects")
	defer func() { step.End(err) }()
	client, err := p.client()
	if err != nil {
		return err
	}
	using, err := users(ctx, client)
	if err != nil {
		return err
	}
	if len(using) > 0 && stays {
		return fmt.Errorf("these Pods use labctl's runtime classes, which go: %s; delete them (or what makes them) and run the same command again", strings.Join(using, ", "))
	}
	if err := removeNamespaces(ctx, client, log); err != nil {
		return err
	}
	if err := removePods(ctx, client, using); err != nil {
		return err
	}
	if err := p.waitGone(ctx, client); err != nil {
		return err
	}
	return removeClasses(ctx, client)
}

// users are the Pods of others', as NAMESPACE/NAME, that use a class which
// labctl made, or a handler that it added.
func users(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	classes, err := client.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list RuntimeClasses: %w", err)
	}
	going := map[string]bool{}
	for _, class := range classes.Items {
		going[class.Name] = runtimes.MadeByLabctl(&class) || class.Handler == runtimes.GVisor || class.Handler == runtimes.WasmEdge
	}
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, ours)
	if err != nil {
		return nil, fmt.Errorf("labctl's namespaces: %w", err)
	}
	mine := map[string]bool{}
	for _, ns := range namespaces.Items {
		mine[ns.Name] = true
	}
	var using []string
	for _, pod := range pods.Items {
		class := pod.Spec.RuntimeClassName
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if class != nil && going[*class] && !ended && !mine[pod.Namespace] && pod.Labels["app.kubernetes.io/managed-by"] != "labctl" {
			using = append(using, pod.Namespace+"/"+pod.Name)
		}
	}
	return using, nil
}

// removePods deletes labctl's, and those of others that are named.
func removePods(ctx context.Context, client kubernetes.Interface, others []string) error {
	second := int64(1)
	options := metav1.DeleteOptions{GracePeriodSeconds: &second}
	if err := client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, options, ours); err != nil {
		return fmt.Errorf("delete labctl's Pods: %w", err)
	}
	for _, pod := range others {
		namespace, name, _ := strings.Cut(pod, "/")
		if err := client.CoreV1().Pods(namespace).Delete(ctx, name, options); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete Pod %s: %w", pod, err)
		}
	}
	return nil
}

// removeNamespaces doesn't take one that a run still holds.
func removeNamespaces(ctx context.Context, client kubernetes.Interface, log progress.Log) error {
	list, err := client.CoreV1().Namespaces().List(ctx, ours)
	if err != nil {
		return fmt.Errorf("labctl's namespaces: %w", err)
	}
	for _, ns := range list.Items {
		if until, err := time.Parse(time.RFC3339, ns.Annotations[apply.HeldUntil]); err == nil && time.Now().Before(until) {
			return fmt.Errorf("a run of labs is at work in namespace %s until %s; wait for it, or delete the namespace", ns.Name, until.Format(time.TimeOnly))
		}
	}
	for _, ns := range list.Items {
		err := client.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &ns.UID}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete namespace %s: %w", ns.Name, err)
		}
	}
	if len(list.Items) > 0 {
		log.Info("%d namespaces that runs left behind are removed", len(list.Items))
	}
	return nil
}

// waitGone waits until K3s has ended labctl's Pods and removed its namespaces.
func (p *Provider) waitGone(ctx context.Context, client kubernetes.Interface) error {
	limited, cancel := context.WithTimeout(ctx, p.times.back)
	defer cancel()
	for {
		using, err := users(limited, client)
		if err != nil {
			return err
		}
		pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(limited, ours)
		if err != nil {
			return fmt.Errorf("labctl's Pods: %w", err)
		}
		namespaces, err := client.CoreV1().Namespaces().List(limited, ours)
		if err != nil {
			return fmt.Errorf("labctl's namespaces: %w", err)
		}
		if len(using)+len(pods.Items)+len(namespaces.Items) == 0 {
			return nil
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("after %v K3s still ends %d Pods and removes %d namespaces; `kubectl get namespaces,pods --all-namespaces` shows them; run the same command again when they are gone", p.times.back, len(using)+len(pods.Items), len(namespaces.Items))
		case <-time.After(p.times.poll):
		}
	}
}

// disown takes labctl's labels off a class that K3s has made its own since.
const disown = `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null,"labctl.dev/runtime":null}}}`

func removeClasses(ctx context.Context, client kubernetes.Interface) error {
	api := client.NodeV1().RuntimeClasses()
	list, err := api.List(ctx, ours)
	if err != nil {
		return fmt.Errorf("list RuntimeClasses: %w", err)
	}
	for _, class := range list.Items {
		if runtimes.MadeByK3s(&class) {
			_, err = api.Patch(ctx, class.Name, types.MergePatchType, []byte(disown), metav1.PatchOptions{})
		} else {
			err = api.Delete(ctx, class.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &class.UID}})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("RuntimeClass %s: %w", class.Name, err)
		}
	}
	return nil
}
