package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

// goneWithin is how long Down waits for namespaces to be gone; the cluster
// goes on removing them by itself.
const goneWithin = time.Minute

// Down implements provision.Provider: it deletes the RuntimeClasses that Up
// made, and labctl's namespaces and Pods. The cluster and the kubeconfig stay.
func (p *Provider) Down(ctx context.Context, name string, log progress.Log) (err error) {
	unlock, err := p.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := p.recall(name)
	if err != nil {
		return err
	}
	if old.Context == "" && p.o.Context == "" {
		// The current context may be any cluster: it was never labctl's.
		return nil
	}
	step := log.Start("Removing labctl's objects")
	defer func() { step.End(err) }()
	c, err := p.connect(ctx, name, old)
	if err != nil {
		return fmt.Errorf("%w; if the cluster is gone for good, remove %s", err, p.recordPath(name))
	}
	if err := c.removePods(ctx); err != nil {
		return err
	}
	if err := c.removeNamespaces(ctx, log); err != nil {
		return err
	}
	if err := c.removeClasses(ctx, old, log); err != nil {
		return err
	}
	return p.forget(name)
}

var ours = metav1.ListOptions{LabelSelector: managedByLabel + "=" + managedBy}

// removePods deletes Pods outside of labctl's namespaces: those of proofs.
func (c *Cluster) removePods(ctx context.Context) error {
	now := int64(0)
	list, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).List(ctx, ours)
	if err != nil {
		return fmt.Errorf("labctl's Pods: %w", err)
	}
	for _, pod := range list.Items {
		err := c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, deletion(pod.UID, &now))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete Pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
	}
	return nil
}

// removeNamespaces deletes the namespaces that runs left behind. One that a
// run still holds is not this one's to take.
func (c *Cluster) removeNamespaces(ctx context.Context, log progress.Log) error {
	api := c.client.CoreV1().Namespaces()
	list, err := api.List(ctx, ours)
	if err != nil {
		return fmt.Errorf("labctl's namespaces: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, goneWithin)
	defer cancel()
	var going []string
	for _, ns := range list.Items {
		if until, err := time.Parse(time.RFC3339, ns.Annotations[apply.HeldUntil]); err == nil && time.Now().Before(until) {
			log.Info("Namespace %s is held by a run until %s and stays", ns.Name, until.Format(time.TimeOnly))
			continue
		}
		err := api.Delete(ctx, ns.Name, deletion(ns.UID, nil))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("delete namespace %s: %w", ns.Name, err)
		}
		going = append(going, ns.Name)
	}
	for len(going) > 0 {
		_, err := api.Get(limited, going[0], metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			going = going[1:]
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case limited.Err() != nil:
			log.Info("Still being removed by the cluster: namespaces %v", going)
			return nil
		}
		select {
		case <-limited.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
	return nil
}

// removeClasses deletes the RuntimeClasses that Up made here. One that only has
// labctl's label may be another provider's (of a kind cluster of labctl's) and
// stays.
func (c *Cluster) removeClasses(ctx context.Context, old record, log progress.Log) error {
	api := c.client.NodeV1().RuntimeClasses()
	list, err := api.List(ctx, ours)
	if err != nil {
		return fmt.Errorf("RuntimeClasses: %w", err)
	}
	var errs []error
	for _, class := range list.Items {
		if !slices.Contains(old.Made, class.Name) {
			if old.Context == "" {
				log.Info("RuntimeClass %s stays: labctl made it, but nothing says that it was by --provider kubeconfig; kubectl delete runtimeclass %s removes it", class.Name, class.Name)
			}
			continue
		}
		err := api.Delete(ctx, class.Name, deletion(class.UID, nil))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("delete RuntimeClass %s: %w", class.Name, err))
		}
	}
	return errors.Join(errs...)
}

func deletion(uid types.UID, grace *int64) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: grace}
}
