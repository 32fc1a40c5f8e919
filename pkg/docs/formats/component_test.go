package formats

import "testing"

func TestComponentConfiguration(t *testing.T) {
	run1(t, []testCase{
		{name: "kubelet", language: "yaml", content: `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
evictionHard: {memory.available: 200Mi}
maxPods: 200
syncFrequency: 1m
`},
		{name: "an unknown field of the kubelet's", language: "yaml", content: `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPod: 200
memorySwap:
  behaviour: LimitedSwap
`, want: []string{"component-config-invalid 3:1", "component-config-invalid 5:3"}, message: "no field maxPod", field: "maxPod"},
		{name: "a wrong type", language: "yaml", content: `
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
maxPods: many
`, want: []string{"component-config-invalid 3:1"}, message: "maxPods can't be a string", field: "maxPods"},
		{name: "kind", language: "yaml", content: `
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
    extraPortMappings: [{containerPort: 80, hostPort: 8080, protocol: TCP}]
networking: {ipFamily: dual}
runtimeConfig: {api/alpha: true}
containerdConfigPatches: ["[plugins]"]
---
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: worker
    extraPorts: []
`, want: []string{"component-config-invalid 14:5"}, field: "nodes[0].extraPorts"},
		{name: "scheduler and API server", language: "yaml", content: `
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles: [{schedulerName: a, plugins: {score: {disabled: [{name: "*"}]}}}]
---
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers: [{aescbc: {keys: [{name: a, secret: b}]}}, {identity: {}}]
---
apiVersion: audit.k8s.io/v1
kind: Policy
rules: [{level: Metadata}]
`},
		{name: "kubeadm isn't judged", language: "yaml", content: `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
foo: bar
`},
	})
}
