package addon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/provision"
)

var metricsServer = Addon{
	Name:  "metrics-server",
	Doc:   "the Metrics API: kubectl top, HorizontalPodAutoscaler",
	Quiet: true,
	Images: []Image{{
		Name: "metrics-server", Module: "metrics-server", Requires: "sigs.k8s.io/metrics-server", Program: "metrics-server",
		Version: "k8s.io/component-base/version.gitVersion",
	}},
	Manifests: true,
	Sign:      Object{APIVersion: "apiregistration.k8s.io/v1", Kind: "APIService", Name: "v1beta1.metrics.k8s.io"},
	Ready: func(ctx context.Context, cluster provision.Cluster) error {
		client, err := kubernetes.NewForConfig(cluster.RESTConfig())
		if err != nil {
			return err
		}
		b, err := client.RESTClient().Get().AbsPath("/apis/metrics.k8s.io/v1beta1/nodes").DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("metrics of nodes: %w", err)
		}
		return usage(b)
	},
}

// usage is an error unless a node of a NodeMetricsList uses some memory.
func usage(list []byte) error {
	var l struct {
		Items []struct {
			Usage struct{ Memory resource.Quantity }
		}
	}
	if err := json.Unmarshal(list, &l); err != nil {
		return fmt.Errorf("metrics of nodes: %w", err)
	}
	for _, n := range l.Items {
		if n.Usage.Memory.Sign() > 0 {
			return nil
		}
	}
	return errors.New("there are no metrics of a node yet")
}

var kubeStateMetrics = Addon{
	Name:  "kube-state-metrics",
	Doc:   "the states of objects as Prometheus metrics",
	Quiet: true,
	Images: []Image{{
		Name: "kube-state-metrics", Module: "kube-state-metrics", Requires: "k8s.io/kube-state-metrics/v2", Program: "kube-state-metrics",
		Version: "github.com/prometheus/common/version.Version",
	}},
	Manifests: true,
	Sign:      Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "kube-system", Name: "kube-state-metrics"},
	Ready: func(ctx context.Context, cluster provision.Cluster) error {
		client, err := kubernetes.NewForConfig(cluster.RESTConfig())
		if err != nil {
			return err
		}
		b, err := client.CoreV1().Services("kube-system").ProxyGet("http", "kube-state-metrics", "http-metrics", "metrics", nil).DoRaw(ctx)
		if err != nil {
			return fmt.Errorf("its metrics: %w", err)
		}
		return describes(b, cluster.Nodes())
	},
}

// describes is an error unless the metrics have every node (kube_node_info).
func describes(metrics []byte, nodes []string) error {
	for _, node := range nodes {
		found := false
		for line := range bytes.Lines(metrics) {
			found = found || bytes.HasPrefix(line, []byte("kube_node_info{")) && bytes.Contains(line, []byte(`node="`+node+`"`))
		}
		if !found {
			return fmt.Errorf("its metrics don't have the node %s yet", node)
		}
	}
	return nil
}
