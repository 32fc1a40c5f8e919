package addon

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"
)

// TestRestart has client-go's fake of an API server: which Pods are replaced
// is a matter of what the objects say; that Gatekeeper comes up is shown by
// the end-to-end tests.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name        string
		data        map[string][]byte
		annotations map[string]string
		err         string // a part of it
		pods        int    // that are left
	}{
		{name: "no certificates", err: "no certificates yet", pods: 2},
		{name: "certificates that its Pods started without", data: map[string][]byte{"tls.crt": {1}}, err: "start anew"},
		{name: "Pods that started with them", data: map[string][]byte{"tls.crt": {1}}, annotations: map[string]string{restartedAnnotation: "true"}, pods: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			labels := map[string]string{"gatekeeper.sh/system": "yes"}
			objects := fake.NewSimpleDynamicClient(scheme.Scheme, []runtime.Object{
				&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: gatekeeperNamespace, Name: gatekeeperSecret, Annotations: c.annotations}, Data: c.data},
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: gatekeeperNamespace, Name: "manager", Labels: labels}},
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: gatekeeperNamespace, Name: "audit", Labels: labels}},
				&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "other", Labels: labels}},
			}...)
			err := restart(t.Context(), objects)
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("restart: %v, want %q", err, c.err)
			}
			pods := corev1.SchemeGroupVersion.WithResource("pods")
			for namespace, want := range map[string]int{gatekeeperNamespace: c.pods, "shop": 1} {
				list, err := objects.Resource(pods).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
				if err != nil || len(list.Items) != want {
					t.Errorf("%s: %d Pods, want %d (%v)", namespace, len(list.Items), want, err)
				}
			}
			if c.err == "start anew" {
				if err := restart(t.Context(), objects); err != nil {
					t.Errorf("a second time: %v", err)
				}
			}
		})
	}
}
