package k3s

import (
	"context"
	"fmt"
	"time"

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

// removeObjects deletes what labctl made in a K3s that stays: Pods of proofs,
// namespaces that runs left behind, RuntimeClasses. It waits until the Pods
// are gone: the programs that they need go next.
func (p *Provider) removeObjects(ctx context.Context, log progress.Log) (err error) {
	step := log.Start("Removing labctl's objects")
	defer func() { step.End(err) }()
	client, err := p.client()
	if err != nil {
		return err
	}
	if err := removeNamespaces(ctx, client, log); err != nil {
		return err
	}
	if err := removePods(ctx, client); err != nil {
		return err
	}
	if err := waitGone(ctx, client, p.times.back, p.times.poll); err != nil {
		return err
	}
	return removeClasses(ctx, client)
}

func removePods(ctx context.Context, client kubernetes.Interface) error {
	second := int64(1)
	err := client.CoreV1().Pods(metav1.NamespaceDefault).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &second}, ours)
	if err != nil {
		return fmt.Errorf("delete labctl's Pods: %w", err)
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

func waitGone(ctx context.Context, client kubernetes.Interface, limit, poll time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		pods, err := client.CoreV1().Pods(metav1.NamespaceDefault).List(limited, ours)
		if err != nil {
			return fmt.Errorf("labctl's Pods: %w", err)
		}
		namespaces, err := client.CoreV1().Namespaces().List(limited, ours)
		if err != nil {
			return fmt.Errorf("labctl's namespaces: %w", err)
		}
		if len(pods.Items)+len(namespaces.Items) == 0 {
			return nil
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("after %v K3s still removes %d Pods and %d namespaces of labctl's; `kubectl get namespaces,pods -l %s` shows them; run the same command again when they are gone", limit, len(pods.Items), len(namespaces.Items), ours.LabelSelector)
		case <-time.After(poll):
		}
	}
}

// disown takes labctl's labels off a class that K3s has made its own since.
const disown = `{"metadata":{"labels":{"app.kubernetes.io/managed-by":null,"labctl.dev/runtime":null}}}`

func removeClasses(ctx context.Context, client kubernetes.Interface) error {
	api := client.NodeV1().RuntimeClasses()
	list, err := api.List(ctx, ours)
	if err != nil {
		return fmt.Errorf("RuntimeClasses: %w", err)
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
