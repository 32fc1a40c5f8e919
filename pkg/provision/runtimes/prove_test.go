package runtimes

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
)

// nodes is a cluster whose containerd answers with a text; what it doesn't
// define is not called.
type nodes struct {
	provision.Cluster
	dump map[string]string
}

func (n nodes) Nodes() []string          { return []string{"a", "b"} }
func (n nodes) ProbeImage(string) string { return "localhost/labctl/labprobe:x" }
func (n nodes) ContainerdConfig(_ context.Context, node string) ([]byte, error) {
	if n.dump[node] == "away" {
		return nil, evidence.Untestablef("node %s is another machine", node)
	}
	if n.dump[node] == "" {
		return nil, errors.New("containerd config dump ended with 127: not found")
	}
	return []byte(n.dump[node]), nil
}

func TestProveHandlers(t *testing.T) {
	all := map[string]string{Runc: Runc, GVisor: GVisor, WasmEdge: WasmEdge}
	good, bare := string(read(t, "dump-2.4.toml")), string(read(t, "kind.toml"))
	for name, c := range map[string]struct {
		dump    map[string]string
		classes map[string]string
		want    string
	}{
		"both nodes have them":     {map[string]string{"a": good, "b": good}, all, ""},
		"one node lacks them":      {map[string]string{"a": good, "b": bare}, all, "node b: containerd has no handler gvisor"},
		"only runc is asked for":   {map[string]string{"a": good, "b": bare}, map[string]string{Runc: Runc}, ""},
		"one node is out of reach": {map[string]string{"a": good, "b": "away"}, all, ""},
		"and the other lacks them": {map[string]string{"a": bare, "b": "away"}, all, "node a: containerd has no handler gvisor"},
		"containerd isn't there":   {map[string]string{"a": "", "b": good}, all, "node a: containerd config dump ended with 127: not found"},
		"the dump is not readable": {map[string]string{"a": "x", "b": good}, all, "node a: containerd config dump"},
	} {
		t.Run(name, func(t *testing.T) {
			err := proveHandlers(context.Background(), nodes{dump: c.dump}, c.classes, progress.Discard)
			if c.want == "" && err != nil {
				t.Error(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
	}
}

// Waiting ends at once where time mends nothing.
func TestHopeless(t *testing.T) {
	waiting := func(reason string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}},
		}}}
	}
	refused := func(times int32) corev1.Event {
		return corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: proofNamespace}, Reason: "FailedCreatePodSandBox", Count: times,
		}
	}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		event corev1.Event
		want  string
	}{
		"it is being made":            {waiting("ContainerCreating"), refused(1), ""},
		"no image":                    {waiting("ImagePullBackOff"), refused(1), "ImagePullBackOff"},
		"the runtime refuses":         {waiting("RunContainerError"), refused(1), "RunContainerError"},
		"the kubelet doesn't take it": {&corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "The node had condition: [DiskPressure]."}}, refused(1), "Evicted: The node had"},
		"no sandbox, time and again":  {waiting("ContainerCreating"), refused(4), "its sandbox is not made, after 4 tries"},
	} {
		t.Run(name, func(t *testing.T) {
			p := proof{client: fake.NewClientset(&c.event), runtime: GVisor}
			err := p.hopeless(context.Background(), c.pod)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// An interrupted proof ends with the reason and takes its Pod with it.
func TestProofInterrupted(t *testing.T) {
	client := fake.NewClientset()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("interrupted"))
	_, err := proof{client: client, cluster: nodes{}, runtime: Runc, class: Runc}.run(ctx)
	if err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
	pods, err := client.CoreV1().Pods(proofNamespace).List(context.Background(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 0 {
		t.Errorf("Pods left: %v %v", pods.Items, err)
	}
}
