package addon

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/provision"
)

var kwok = Addon{
	Name: "kwok",
	Doc:  "Nodes that run nothing (annotation kwok.x-k8s.io/node: fake), for the scheduler",
	Images: []Image{{
		Name: "kwok", Module: "kwok", Requires: "sigs.k8s.io/kwok", Program: "kwok",
	}},
	Upstream: []Upstream{{
		Module: "kwok", Requires: "sigs.k8s.io/kwok",
		Files: []string{
			"kustomize/crd/bases/kwok.x-k8s.io_stages.yaml",
			"kustomize/stage/node/fast/node-*.yaml",
			"kustomize/stage/node/heartbeat-with-lease/node-*.yaml",
			"kustomize/stage/pod/fast/pod-*.yaml",
		},
	}},
	Manifests: true,
	Sign:      Object{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "stages.kwok.x-k8s.io"},
	Ready:     playsNode,
}

// playsNode makes a Node and sees it become Ready by kwok.
func playsNode(ctx context.Context, cluster provision.Cluster) (err error) {
	client, err := kubernetes.NewForConfig(cluster.RESTConfig())
	if err != nil {
		return err
	}
	nodes := client.CoreV1().Nodes()
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "labctl-kwok-ready",
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
			Labels:      map[string]string{ManagedByLabel: ManagedBy, Label: "kwok", "type": "kwok"},
		},
		// No Pod goes there meanwhile.
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "labctl.dev/proof", Effect: corev1.TaintEffectNoSchedule}}, Unschedulable: true},
	}
	if _, err := nodes.Create(ctx, node, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if gone := nodes.Delete(ctx, node.Name, metav1.DeleteOptions{}); gone != nil && !apierrors.IsNotFound(gone) && err == nil {
			err = gone
		}
	}()
	for {
		n, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("a Node that it is to play: %w", err)
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				return nil
			}
		}
		if err := pause(ctx, poll); err != nil {
			return fmt.Errorf("a Node that it is to play doesn't become Ready: %w", err)
		}
	}
}
