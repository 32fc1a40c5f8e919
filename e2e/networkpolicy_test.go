//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision"
)

// The tests below are one story about one cluster of two nodes, in order:
// policies mean nothing, then they do, for Pods old and new, then they mean
// nothing again and the nodes are as they were.
func TestNetworkPolicy(t *testing.T) {
	name := sharedName + "-policy"
	t.Cleanup(func() { labctl(context.Background(), "down", "--name", name) })
	must(t, "up", "--name", name, "--workers", "1")
	_, client := clients(t, name)
	labs, err := lifecycle.New(lifecycle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := labs.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	n := &policies{rig: &rig{cluster: cluster, client: client, runtime: "runc", namespace: newNamespace(t, client, "policies")}}
	nodes := cluster.Nodes()
	if len(nodes) != 2 {
		t.Fatalf("nodes %v, want two", nodes)
	}
	before := traces(t, cluster)
	server := n.server(t, "server", nodes[1])
	n.server(t, "old", nodes[0])
	deny := n.policy(t, networkingv1.NetworkPolicySpec{
		PodSelector: labelled("server"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	})

	t.Run("without the add-on a policy denies nothing", func(t *testing.T) {
		n.expect(t, "old", "open", server, port)
	})
	must(t, "addon", "up", "network-policy", "--name", name)

	t.Run("across nodes", func(t *testing.T) {
		t.Run("a Pod that is older than the add-on is denied", func(t *testing.T) {
			n.expect(t, "old", "timeout", server, port)
		})
		n.server(t, "new", nodes[0])
		t.Run("a new one too", func(t *testing.T) { n.expect(t, "new", "timeout", server, port) })
		t.Run("by the Service's address too", func(t *testing.T) {
			n.expect(t, "new", "timeout", n.service(t, "server"), port)
		})
		t.Run("the kubelet's probes pass", func(t *testing.T) {
			pod, err := client.CoreV1().Pods(n.namespace).Get(t.Context(), "server", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
					t.Errorf("%s: %s", c.Reason, c.Message)
				}
			}
		})
		allow := n.policy(t, networkingv1.NetworkPolicySpec{
			PodSelector: labelled("server"),
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{selecting("new")}}},
		})
		t.Run("who is allowed by label gets through", func(t *testing.T) { n.expect(t, "new", "open", server, port) })
		t.Run("who isn't doesn't", func(t *testing.T) { n.expect(t, "old", "timeout", server, port) })
		n.remove(t, allow)
	})

	t.Run("on one node", func(t *testing.T) {
		n.server(t, "near", nodes[1])
		n.expect(t, "near", "timeout", server, port)
		n.remove(t, deny)
		n.expect(t, "near", "open", server, port)
	})

	t.Run("egress to DNS alone", func(t *testing.T) {
		dns := intstr.FromInt32(53)
		udp := corev1.ProtocolUDP
		only := n.policy(t, networkingv1.NetworkPolicySpec{
			PodSelector: labelled("new"),
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{
				To: []networkingv1.NetworkPolicyPeer{{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"}},
					PodSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
				}},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &dns}},
			}},
		})
		n.expect(t, "new", "timeout", server, port)
		if got := n.value(t, "new", "rcode", "dns", "--wait", "20s", "--want", "NOERROR", "kubernetes.default.svc.cluster.local"); got != "NOERROR" {
			t.Errorf("DNS answers %q", got)
		}
		n.expect(t, "old", "open", server, port) // no policy selects it
		n.remove(t, only)
		n.expect(t, "new", "open", server, port)
	})

	t.Run("a second up finds it up", func(t *testing.T) { must(t, "addon", "up", "network-policy", "--name", name) })

	n.policy(t, networkingv1.NetworkPolicySpec{
		PodSelector: labelled("server"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	})
	n.expect(t, "new", "timeout", server, port)
	must(t, "addon", "down", "network-policy", "--name", name)

	t.Run("down leaves Pods their network, and no policy", func(t *testing.T) {
		n.expect(t, "new", "open", server, port)
		n.server(t, "last", nodes[0])
		n.expect(t, "last", "open", server, port)
	})
	t.Run("down leaves the nodes as they were", func(t *testing.T) {
		after := traces(t, cluster)
		for _, node := range nodes {
			if after[node] != before[node] {
				t.Errorf("node %s\nbefore:\n%s\nafter:\n%s", node, before[node], after[node])
			}
		}
		kinds, err := client.Discovery().ServerGroups()
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range kinds.Groups {
			if g.Name == "cilium.io" {
				t.Errorf("the API still has %s", g.Name)
			}
		}
	})
	t.Run("up again", func(t *testing.T) {
		must(t, "addon", "up", "network-policy", "--name", name)
		n.expect(t, "new", "timeout", server, port)
	})
}

const port = "8080"

// traces is what an engine would leave on the nodes, by their names.
func traces(t *testing.T, cluster provision.Cluster) map[string]string {
	t.Helper()
	const script = `ls -A /etc/cni/net.d /opt/cni/bin; cat /etc/cni/net.d/*
grep -c ' /sys/fs/bpf ' /proc/self/mounts
ls /sys/class/net | grep -v veth; ip rule
for dev in $(ls /sys/class/net); do tc qdisc show dev $dev clsact; done
iptables-save | grep -c -i cilium
cat /proc/sys/net/ipv4/conf/all/rp_filter /proc/sys/net/ipv4/fib_multipath_use_neigh
ls -d /run/cilium /var/lib/labctl/network-policy 2>/dev/null`
	out := map[string]string{}
	for _, node := range cluster.Nodes() {
		exit, err := cluster.Node(node).Run(t.Context(), strings.NewReader(script), "sh")
		if err != nil {
			t.Fatal(err)
		}
		out[node] = string(exit.Stdout) + string(exit.Stderr)
	}
	return out
}

// policies makes Pods and NetworkPolicies in a namespace.
type policies struct{ *rig }

func labelled(app string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

func selecting(app string) networkingv1.NetworkPolicyPeer {
	s := labelled(app)
	return networkingv1.NetworkPolicyPeer{PodSelector: &s}
}

// server runs labprobe's server on a node and gives its Pod's address.
func (n *policies) server(t *testing.T, name, node string) string {
	t.Helper()
	template := n.template(n.container("serve", "serve", "--port", port))
	template.Spec.NodeName, template.Spec.Tolerations = node, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.Parse(port)}},
		PeriodSeconds: 1, TimeoutSeconds: 5, // a busy machine is no policy
	}
	pods := n.client.CoreV1().Pods(n.namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: template.Spec}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 200*time.Millisecond, podLimit, true, func(ctx context.Context) (bool, error) {
		var err error
		if pod, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}), nil
	})
	if err != nil {
		t.Fatalf("Pod %s isn't ready (phase %s): %v", name, pod.Status.Phase, err)
	}
	return pod.Status.PodIP
}

// service makes a Service for a Pod and gives its address.
func (n *policies) service(t *testing.T, app string) string {
	t.Helper()
	s, err := n.client.CoreV1().Services(n.namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: app},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 8080}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Spec.ClusterIP
}

func (n *policies) policy(t *testing.T, spec networkingv1.NetworkPolicySpec) string {
	t.Helper()
	p, err := n.client.NetworkingV1().NetworkPolicies(n.namespace).Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Spec: spec,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Name
}

func (n *policies) remove(t *testing.T, policy string) {
	t.Helper()
	if err := n.client.NetworkingV1().NetworkPolicies(n.namespace).Delete(t.Context(), policy, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// expect sees what becomes of a connection from a Pod; a policy has some
// seconds to take effect.
func (n *policies) expect(t *testing.T, from, want, host, port string) {
	t.Helper()
	if got := n.value(t, from, "outcome", "connect", "--timeout", "1s", "--wait", "20s", "--want", want, host, port); got != want {
		t.Errorf("connection from Pod %s to %s: %q, want %q", from, host, got, want)
	}
}

// value is one value that a command of labprobe in a Pod gives.
func (n *policies) value(t *testing.T, pod, value string, command ...string) string {
	t.Helper()
	out, err := n.run(t, pod, append([]string{"/labprobe"}, command...)...)
	if err != nil {
		t.Fatalf("%s in Pod %s: %v\n%s", strings.Join(command, " "), pod, err, out)
	}
	report, err := labprobe.Parse([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	set, err := report.Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range set {
		if v.Name == value {
			return fmt.Sprint(v.Value)
		}
	}
	t.Fatalf("%s gives no %s: %s", strings.Join(command, " "), value, out)
	return ""
}
