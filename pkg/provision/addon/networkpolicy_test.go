package addon

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestK3sEnforces(t *testing.T) {
	node := func(name string, annotations map[string]string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	}
	args := func(text string) map[string]string { return map[string]string{"k3s.io/node-args": text} }
	for _, c := range []struct {
		name  string
		nodes []*corev1.Node
		want  bool
	}{
		{"kind", []*corev1.Node{node("a", nil)}, false},
		{"K3s", []*corev1.Node{node("a", args(`["server","--disable","traefik"]`))}, true},
		{"K3s with agents", []*corev1.Node{node("a", args(`["agent"]`)), node("b", args(`["server"]`))}, true},
		{"K3s without", []*corev1.Node{node("a", args(`["server","--disable-network-policy"]`)), node("b", args(`["agent"]`))}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset()
			for _, n := range c.nodes {
				if err := client.Tracker().Add(n); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := k3sEnforces(t.Context(), client); err != nil || got != c.want {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func TestUnknownPods(t *testing.T) {
	now := metav1.Now()
	object := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "a", Name: name} }
	endpoints := []metav1.PartialObjectMetadata{{ObjectMeta: object("known")}}
	leaving := corev1.Pod{ObjectMeta: object("leaving")}
	leaving.DeletionTimestamp = &now
	for _, c := range []struct {
		name string
		pod  corev1.Pod
		err  string
	}{
		{"known", corev1.Pod{ObjectMeta: object("known")}, ""},
		{"on the node's own network", corev1.Pod{ObjectMeta: object("host"), Spec: corev1.PodSpec{HostNetwork: true}}, ""},
		{"leaving", leaving, ""},
		{"unknown", corev1.Pod{ObjectMeta: object("unknown")}, "a/unknown"},
		{"known in another namespace", corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "known"}}, "b/known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := unknownPods([]corev1.Pod{c.pod}, endpoints)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasSuffix(err.Error(), c.err)) {
				t.Errorf("error %v, want one that ends in %q", err, c.err)
			}
		})
	}
}
