//go:build e2e

package e2e

import (
	"slices"
	"testing"
)

// TestKubernetesLabSabotage changes a manifest of the labs about Kubernetes
// and its runtimes, and wants exactly the claims that rest on it to turn.
func TestKubernetesLabSabotage(t *testing.T) {
	shared(t)
	quota := []string{"01-18", "01-18.sum", "01-19"}
	limits := []string{"01-20", "01-21", "01-22"}
	services := []string{"01-6", "01-12", "01-26", "01-30"}
	unknown := []string{"04-5", "04-7", "04-17"}
	for _, tt := range []struct {
		name, lab, file, old, new string
		claims, turn              []string
	}{
		{
			name: "the quota doesn't count Pods", lab: "kubernetes", file: "compute-resources.yaml", old: `    pods: "20"`, new: "",
			claims: quota, turn: []string{"01-19"},
		},
		{
			name: "the quota doesn't count CPUs", lab: "kubernetes", file: "compute-resources.yaml", old: `    requests.cpu: "4"`, new: "",
			claims: quota, turn: []string{"01-18"},
		},
		{
			name: "a larger quota for the sum", lab: "kubernetes", file: "compute-quota.yaml", old: `requests.cpu: "10"`, new: `requests.cpu: "12"`,
			claims: quota, turn: []string{"01-18.sum"},
		},
		{
			name: "a higher maximum", lab: "kubernetes", file: "compute-limits.yaml", old: `max: {cpu: "2"`, new: `max: {cpu: "3"`,
			claims: limits, turn: []string{"01-22"},
		},
		{
			name: "another default", lab: "kubernetes", file: "compute-limits.yaml", old: "defaultRequest: {cpu: 500m", new: "defaultRequest: {cpu: 400m",
			claims: limits, turn: []string{"01-21"},
		},
		{
			name: "a Pod may be missing", lab: "kubernetes", file: "rolling-update.yaml", old: "{maxSurge: 1, maxUnavailable: 0}", new: "{maxSurge: 0, maxUnavailable: 1}",
			claims: []string{"01-10"}, turn: []string{"01-10"},
		},
		{
			name: "the Service selects nothing", lab: "kubernetes", file: "web-application.yaml", old: "\n  selector: {app: myapp}", new: "\n  selector: {app: nobody}",
			claims: services, turn: []string{"01-6"},
		},
		{
			name: "both Pods at once", lab: "kubernetes", file: "stateful-set.yaml", old: "  replicas: 2", new: "  replicas: 2\n  podManagementPolicy: Parallel",
			claims: []string{"01-11"}, turn: []string{"01-11"},
		},
		{
			name: "another file in the ConfigMap", lab: "kubernetes", file: "app-config.yaml", old: "server.port=8080", new: "server.port=9090",
			claims: []string{"01-27", "01-27.image"}, turn: []string{"01-27"},
		},
		{
			name: "the class has no condition", lab: "orchestration-runtime", file: "crun-wasm.yaml", old: "  nodeSelector:\n    wasm-runtime: ${NAMESPACE}\n", new: "",
			claims: []string{"04-6", "04-8"}, turn: []string{"04-6"},
		},
		{
			name: "the class is there", lab: "orchestration-runtime", file: "autoscaling-as-written.yaml", old: "runtimeClassName: runc-${NAMESPACE}", new: "runtimeClassName: ${CLASS.runc}",
			claims: unknown, turn: []string{"04-17"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // scenarios mostly wait, each in namespaces of its own
			dir := changed(t, tt.lab+"/"+tt.file, tt.old, tt.new)
			turn(t, slices.Concat([]string{tt.lab, "--catalogue", dir}, only(tt.claims)), tt.turn)
		})
	}
}

// TestOrchestrationLabSwappedHandler gives the class for gVisor runc's
// handler: the claims that tell runtimes apart turn, and those about runc and
// names don't.
func TestOrchestrationLabSwappedHandler(t *testing.T) {
	_, client := shared(t)
	swap(t, client.NodeV1().RuntimeClasses(), "gvisor", "runc")
	turn(t, slices.Concat([]string{"orchestration-runtime"}, only([]string{"04-4", "04-5", "04-9", "04-10", "04-11"})), []string{"04-4", "04-11"})
}

// TestKubernetesLabWithoutMetrics leaves the add-on out: the claim that rests
// on it turns, and no others. (Without a policy engine:
// TestNetworkLabWithoutPolicyEngine.)
func TestKubernetesLabWithoutMetrics(t *testing.T) {
	shared(t)
	turn(t, slices.Concat([]string{"orchestration-runtime", "--without", "metrics-server"}, only([]string{"04-15", "04-17", "04-18"})), []string{"04-18"})
}
