package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// The roles that a node can be asked for by.
const (
	ControlPlane = "control-plane"
	Worker       = "worker"
)

// controlPlaneLabel is set by kubeadm and K3s on control plane nodes
// (https://kubernetes.io/docs/reference/labels-annotations-taints/).
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// Pick returns the place of a node: control-plane (also if which is empty),
// worker, or a node's name. It is an *evidence.Untestable where the run has
// no cluster or the cluster no such node.
func Pick(ctx context.Context, env probe.Environment, which string) (probe.Place, error) {
	if env.Cluster == nil {
		return nil, evidence.Untestablef("there is no cluster")
	}
	names := env.Cluster.Nodes()
	if slices.Contains(names, which) {
		return env.Cluster.Node(which), nil
	}
	if which == "" {
		which = ControlPlane
	}
	if which == ControlPlane && len(names) == 1 {
		return env.Cluster.Node(names[0]), nil
	}
	if which != ControlPlane && which != Worker {
		return nil, evidence.Untestablef("the cluster has no node %q; it has %s", which, strings.Join(names, ", "))
	}
	client, err := kubernetes.NewForConfig(env.Cluster.RESTConfig())
	if err != nil {
		return nil, fmt.Errorf("find a %s node: %w", which, err)
	}
	selector := controlPlaneLabel
	if which == Worker {
		selector = "!" + controlPlaneLabel
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("find a %s node: %w", which, err)
	}
	for _, n := range nodes.Items {
		if slices.Contains(names, n.Name) {
			return env.Cluster.Node(n.Name), nil
		}
	}
	return nil, evidence.Untestablef("the cluster has no %s node", which)
}
