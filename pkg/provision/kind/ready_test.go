package kind

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/isolation-stack/labctl/pkg/progress"
)

func kubeNode(name string, status corev1.ConditionStatus, reason string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if status != "" {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: reason, Message: "message of " + reason}}
	}
	return n
}

func TestWaitReady(t *testing.T) {
	event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e", Namespace: "kube-system"}, Type: "Warning",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "podnetwork"}, Reason: "Failed", Message: "no such image"}
	for _, c := range []struct {
		name  string
		nodes []*corev1.Node
		wants []string
	}{
		{"all Ready", []*corev1.Node{kubeNode("a", corev1.ConditionTrue, ""), kubeNode("b", corev1.ConditionTrue, "")}, nil},
		{"one isn't", []*corev1.Node{kubeNode("a", corev1.ConditionTrue, ""), kubeNode("b", corev1.ConditionFalse, "KubeletNotReady")}, []string{"b: KubeletNotReady: message of KubeletNotReady", "event: Pod podnetwork: Failed: no such image"}},
		{"one never joined", []*corev1.Node{kubeNode("a", corev1.ConditionTrue, "")}, []string{"b: has not joined"}},
		{"one says nothing", []*corev1.Node{kubeNode("a", corev1.ConditionTrue, ""), kubeNode("b", "", "")}, []string{"b: its kubelet has not reported"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset(event)
			for _, n := range c.nodes {
				if err := client.Tracker().Add(n); err != nil {
					t.Fatal(err)
				}
			}
			cluster := &Cluster{name: "lab", nodes: []string{"a", "b"}, client: client}
			err := cluster.waitReady(t.Context(), 1, progress.Discard)
			if len(c.wants) == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			for _, want := range c.wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("lacks %q: %v", want, err)
				}
			}
		})
	}
}

func TestCheckComplete(t *testing.T) {
	mark := func(nodes string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: complete, Namespace: "kube-system"}, Data: map[string]string{"nodes": nodes}}
	}
	for name, c := range map[string]struct {
		mark *corev1.ConfigMap
		want string
	}{
		"whole":              {mark("2"), ""},
		"a container gone":   {mark("3"), "it had 3 nodes and has 2"},
		"never marked":       {nil, "interrupted"},
		"marked by nonsense": {mark("many"), "it had many nodes"},
	} {
		client := fake.NewClientset()
		if c.mark != nil {
			client = fake.NewClientset(c.mark)
		}
		cluster := &Cluster{name: "lab", nodes: []string{"a", "b"}, client: client}
		err := cluster.checkComplete(t.Context(), lookLimit)
		if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
