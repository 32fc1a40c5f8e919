package apiserver

import (
	"reflect"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestIsState(t *testing.T) {
	tests := map[string]bool{
		"/registry/namespaces/demo":                           true,
		"/registry/leases/kube-system/mine":                   true,
		"/registry/example.org/widgets/demo/w":                true,
		"/registry/masterleases/127.0.0.1":                    false,
		"/registry/leases/kube-system/apiserver-x":            false,
		"/registry/namespaces/labctl-epoch":                   false,
		"/registry/resourcequotas/labctl-epoch/labctl-epoch":  false,
		crdKeys + "epochs.epoch.labctl.dev":                   false,
		"/registry/resourcequotas/labctl-epoch/of-a-document": true,
		"compact_rev_key":                                     false,
		marker:                                                false,
	}
	for key, want := range tests {
		if got := isState(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}

func TestCached(t *testing.T) {
	for key, want := range map[string]bool{
		"/registry/namespaces/demo":                     true,
		"/registry/runtimeclasses/gvisor":               true,
		crdKeys + "widgets.example.org":                 true,
		"/registry/configmaps/demo/a":                   false,
		"/registry/example.org/namespaces/demo/widgets": false,
	} {
		if got := cached(key); got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
}

func TestRounds(t *testing.T) {
	var ops []clientv3.Op
	for _, k := range []string{"configmaps/a/1", "configmaps/a/2", "configmaps/b/1", "namespaces/a", "namespaces/b", "pods/a/1"} {
		ops = append(ops, clientv3.OpDelete(registry+k))
	}
	var got []string
	for _, round := range rounds(ops) {
		var keys []string
		for _, op := range round {
			keys = append(keys, strings.TrimPrefix(string(op.KeyBytes()), registry))
		}
		got = append(got, strings.Join(keys, " "))
	}
	want := []string{"configmaps/a/1 namespaces/a pods/a/1", "configmaps/a/2 namespaces/b", "configmaps/b/1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if rounds(nil) != nil {
		t.Error("rounds of nothing")
	}
}

func TestRenewed(t *testing.T) {
	const old = "0b0b0b0b-1111-2222-3333-444444444444"
	crd := []byte(`{"metadata":{"name":"a","uid":"` + old + `"},"spec":{"versions":[{"served":true}],"max":9223372036854775807}}`)
	got := string(renewed(crd))
	if strings.Contains(got, old) || len(got) != len(crd) || !strings.Contains(got, "9223372036854775807") {
		t.Errorf("%s", got)
	}
	for _, broken := range []string{"", "k8s\x00", `{"metadata":{}}`} {
		if got := string(renewed([]byte(broken))); got != broken {
			t.Errorf("%q: %q", broken, got)
		}
	}
}

func TestBehindPod(t *testing.T) {
	const n = 1000 // written as 1k
	warning := `299 - "would violate PodSecurity \"restricted:v1.1000\": seccompProfile"`
	priority := int32(n)
	whole := func() corev1.Pod {
		cpu := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1k")}
		return corev1.Pod{Spec: corev1.PodSpec{
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "epoch-1000"}},
			Containers:       []corev1.Container{{Resources: corev1.ResourceRequirements{Limits: cpu}}},
			Overhead:         cpu, Priority: &priority,
		}}
	}
	older := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("999")}
	lower := priority - 1
	tests := []struct {
		want   string
		change func(*corev1.Pod)
	}{
		{"", func(*corev1.Pod) {}},
		{"ServiceAccount", func(p *corev1.Pod) { p.Spec.ImagePullSecrets[0].Name = "epoch-100" }},
		{"ServiceAccount", func(p *corev1.Pod) { p.Spec.ImagePullSecrets = nil }},
		{"LimitRange", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Limits = older }},
		{"LimitRange", func(p *corev1.Pod) { p.Spec.Containers = nil }},
		{"RuntimeClass", func(p *corev1.Pod) { p.Spec.Overhead = nil }},
		{"PriorityClass", func(p *corev1.Pod) { p.Spec.Priority = &lower }},
		{"PriorityClass", func(p *corev1.Pod) { p.Spec.Priority = nil }},
	}
	for _, tt := range tests {
		p := whole()
		tt.change(&p)
		if got := behindPod(p, warning, n); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	if got := behindPod(whole(), `299 - "would violate PodSecurity \"restricted:v1.100\": x"`, n); got != "Namespace" {
		t.Errorf("got %q, want Namespace", got)
	}
}
