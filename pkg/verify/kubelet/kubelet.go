// Package kubelet is the probe family that compares what kubelet's metrics
// say of a throttled Pod with what the kernel counts.
package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is the family.
var Kind = probe.Kind{
	Name:       "kubelet-metrics",
	Namespaced: true,
	Doc:        "a Pod that spins under a CPU limit: throttling by kubelet's metrics (/metrics/cadvisor) beside its cgroup's cpu.stat",
	New:        New,
}

// Params are the parameters.
type Params struct {
	// Runtime is runc (the default), gvisor or wasmedge.
	Runtime string `json:"runtime,omitempty"`
	// CPU is the container's CPU limit; none if absent.
	CPU *resource.Quantity `json:"cpu,omitempty"`
	// For is how long the Pod spins, 5s if absent.
	For *metav1.Duration `json:"for,omitempty"`
}

const (
	defaultLength = 5 * time.Second
	// podAndMetrics is how long the rest may take: a Pod's start, and
	// cAdvisor's next look at it (10 to 20 s apart, longer on a busy node).
	podAndMetrics = 3 * time.Minute
)

var outputs = []evidence.Output{
	{Name: "kubelet.exposed", Type: evidence.Bool, Doc: "kubelet has container_cpu_cfs_throttled_seconds_total for the container; without a CPU limit it hasn't"},
	{Name: "kubelet.throttled", Type: evidence.Duration, Doc: "container_cpu_cfs_throttled_seconds_total; 0 where it isn't exposed"},
	{Name: "kubelet.throttled.periods", Type: evidence.Int, Unit: "count", Doc: "container_cpu_cfs_throttled_periods_total; 0 where it isn't exposed"},
	{Name: "cgroup.throttled", Type: evidence.Duration, Doc: "the same by cpu.stat of the container's cgroup, read on the node; it stood still meanwhile"},
}

// New decodes parameters into a probe.
func New(params []byte) (probe.Probe, error) {
	var p Params
	if err := probe.Decode(params, &p); err != nil {
		return nil, err
	}
	if p.Runtime == "" {
		p.Runtime = pod.Runc
	}
	length := defaultLength
	if p.For != nil {
		length = p.For.Duration
	}
	spinning := pod.Params{
		Runtime:  p.Runtime,
		Labprobe: []string{"throttle", "--duration", length.String()},
		Observe:  true,
		Timeout:  &metav1.Duration{Duration: length + podAndMetrics},
	}
	if p.CPU != nil {
		spinning.Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: *p.CPU}
	}
	encoded, err := json.Marshal(spinning)
	if err != nil {
		return nil, fmt.Errorf("the Pod's parameters: %w", err)
	}
	made, err := pod.New(encoded)
	if err != nil {
		return nil, err
	}
	return made, made.AddBeside(compare, outputs...)
}

// compare reads both while the Pod, which has done spinning, stays.
func compare(ctx context.Context, kube kubernetes.Interface, s pod.Standing) (evidence.Set, error) {
	node := s.Pod.Spec.NodeName
	fetch := func(ctx context.Context) (sample, error) {
		text, err := kube.CoreV1().RESTClient().Get().
			Resource("nodes").Name(node).SubResource("proxy").Suffix("metrics", "cadvisor").DoRaw(ctx)
		if err != nil {
			return sample{}, fmt.Errorf("kubelet's metrics through the API server: %w", err)
		}
		return parse(text, s.Pod.Namespace, s.Pod.Name, s.Pod.Spec.Containers[0].Name)
	}
	count := func(ctx context.Context) (time.Duration, error) {
		set, err := pod.Labprobe(ctx, s.Node, "cgroup", "--pid", strconv.Itoa(s.PID))
		if err != nil {
			return 0, err
		}
		v, ok := set.Get("cpu.throttled.time")
		throttled, isDuration := v.Value.(time.Duration)
		if !ok || !isDuration {
			return 0, evidence.Untestablef("cpu.stat of the container's cgroup on %s doesn't say how long it was throttled", node)
		}
		return throttled, nil
	}
	got, throttled, err := settle(ctx, pause, fetch, count)
	if err != nil {
		return nil, err
	}
	object := evidence.Source{Kind: "object", Ref: "GET /api/v1/nodes/" + node + "/proxy/metrics/cadvisor", Where: "pod/" + s.Pod.Name}
	file := evidence.Source{Kind: "file", Ref: fmt.Sprintf("cpu.stat of the cgroup of process %d", s.PID), Where: s.Node.Name()}
	return evidence.Set{
		{Name: "kubelet.exposed", Type: evidence.Bool, Value: got.exposed, Source: object},
		{Name: "kubelet.throttled", Type: evidence.Duration, Value: got.throttled, Source: object},
		{Name: "kubelet.throttled.periods", Type: evidence.Int, Unit: "count", Value: got.periods, Source: object},
		{Name: "cgroup.throttled", Type: evidence.Duration, Value: throttled, Source: file},
	}, nil
}
