package kind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"sigs.k8s.io/kind/pkg/cluster/constants"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

const (
	// readyLimit is how long nodes may take from kind's end to Ready: 10 s on
	// a laptop, minutes on a loaded two-core machine.
	readyLimit = 4 * time.Minute
	// lookLimit is how long an existing cluster may take to answer.
	lookLimit = 20 * time.Second
	// startLimit is the same after its stopped containers were started.
	startLimit = 90 * time.Second
)

// Broken is a cluster that is there and can't be used.
type Broken struct{ Reason string }

func (b *Broken) Error() string { return b.Reason }

func brokenf(format string, args ...any) error { return &Broken{Reason: fmt.Sprintf(format, args...)} }

// open connects to a cluster that is there. Containers that stopped (the
// machine was restarted) are started. The error is *Broken where the cluster
// is to be made anew.
func (p *Provider) open(ctx context.Context, e *engine.Engine, name string, nodes []node) (*Cluster, error) {
	limit := lookLimit
	var unseen []string // nodes that nothing else here talks to before they are to work
	for _, n := range nodes {
		if !n.running || n.role != constants.ControlPlaneNodeRoleValue {
			unseen = append(unseen, n.name)
		}
		if n.running {
			continue
		}
		limit = startLimit
		if _, err := e.Run(ctx, "start", n.name); err != nil {
			return nil, brokenf("its container %s doesn't start (%v)", n.name, err)
		}
	}
	c, err := p.connect(ctx, e, name, nodes)
	if err != nil {
		return nil, err
	}
	if err := c.checkComplete(ctx, limit); err != nil {
		return nil, err
	}
	if err := c.waitContainerd(ctx, unseen, limit); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx, limit, progress.Discard); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, brokenf("%v", err)
	}
	return c, nil
}

// waitContainerd waits for the containerd of these nodes. The API server calls
// a node Ready for most of a minute after it stopped or was killed
// (--node-monitor-grace-period of kube-controller-manager).
func (c *Cluster) waitContainerd(ctx context.Context, nodes []string, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, n := range nodes {
		for {
			_, err := c.output(limited, n, "ctr", "version")
			if err == nil {
				break
			}
			select {
			case <-limited.Done():
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return brokenf("containerd of its node %s doesn't answer within %s (%v)", n, limit, err)
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
	return nil
}

// complete is the ConfigMap in kube-system that ends the making of a cluster;
// without it, Up was interrupted, and something may be missing that nothing
// else shows (a StorageClass, a worker that never joined).
const complete = "labctl-cluster"

func (c *Cluster) markComplete(ctx context.Context, imageID string) error {
	mark := corev1ac.ConfigMap(complete, metav1.NamespaceSystem).
		WithLabels(map[string]string{"app.kubernetes.io/managed-by": "labctl"}).
		WithData(map[string]string{"nodes": strconv.Itoa(len(c.nodes)), "nodeImage": imageID})
	_, err := c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Apply(ctx, mark, metav1.ApplyOptions{FieldManager: "labctl"})
	if err != nil {
		return fmt.Errorf("mark cluster %s as complete: %w", c.name, err)
	}
	return nil
}

// checkComplete waits until the API server answers and looks for the mark.
func (c *Cluster) checkComplete(ctx context.Context, limit time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		mark, err := c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(limited, complete, metav1.GetOptions{})
		switch {
		case err == nil && mark.Data["nodes"] != strconv.Itoa(len(c.nodes)):
			return brokenf("it had %s nodes and has %d containers", mark.Data["nodes"], len(c.nodes))
		case err == nil:
			return nil
		case apierrors.IsNotFound(err):
			return brokenf("its making was interrupted")
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return brokenf("its API server doesn't answer within %s (%v)", limit, err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// waitReady waits until every node is Ready. Its error tells what stands in
// the way, with the events that say why.
func (c *Cluster) waitReady(ctx context.Context, limit time.Duration, log progress.Log) (err error) {
	step := log.Start("Waiting for nodes")
	defer func() { step.End(err) }()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var list *corev1.NodeList
		list, err = c.client.CoreV1().Nodes().List(limited, metav1.ListOptions{})
		var waiting []string
		if err == nil {
			waiting = notReady(list.Items, c.nodes)
			if len(waiting) == 0 {
				return nil
			}
			next, _, _ := strings.Cut(waiting[0], ":")
			step.Update(len(c.nodes)-len(waiting), len(c.nodes), next)
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if len(waiting) == 0 {
				return fmt.Errorf("the API server of cluster %s doesn't answer: %w", c.name, errors.Join(err, limited.Err()))
			}
			return fmt.Errorf("nodes of cluster %s aren't Ready after %s:\n  %s%s", c.name, limit, strings.Join(waiting, "\n  "), c.events(ctx))
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// notReady says of each wanted node that isn't Ready why.
func notReady(have []corev1.Node, want []string) []string {
	var waiting []string
	for _, name := range want {
		i := slices.IndexFunc(have, func(n corev1.Node) bool { return n.Name == name })
		if i < 0 {
			waiting = append(waiting, name+": has not joined")
			continue
		}
		conditions := have[i].Status.Conditions
		j := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		switch {
		case j < 0:
			waiting = append(waiting, name+": its kubelet has not reported")
		case conditions[j].Status != corev1.ConditionTrue:
			waiting = append(waiting, fmt.Sprintf("%s: %s: %s", name, conditions[j].Reason, conditions[j].Message))
		}
	}
	return waiting
}

// events are the last warnings of the whole cluster, as lines of an error.
func (c *Cluster) events(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := c.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning"})
	if err != nil {
		return "\n  (no events: " + err.Error() + ")"
	}
	items := list.Items
	slices.SortStableFunc(items, func(a, b corev1.Event) int { return a.LastTimestamp.Compare(b.LastTimestamp.Time) })
	var b strings.Builder
	for _, e := range items[max(0, len(items)-8):] {
		fmt.Fprintf(&b, "\n  event: %s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return b.String()
}
