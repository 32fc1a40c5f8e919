module github.com/isolation-stack/labctl/images/crds

go 1.26.0

// The modules of crds.yaml, each by itself: nothing is compiled, so what they
// require doesn't matter.
require (
	github.com/argoproj/argo-cd/v3 v3.4.13
	github.com/argoproj/argo-rollouts v1.9.2
	github.com/bitnami-labs/sealed-secrets v0.27.1
	github.com/cert-manager/cert-manager v1.21.2
	github.com/cilium/cilium v1.20.2
	github.com/fluxcd/kustomize-controller v1.9.6
	github.com/fluxcd/source-controller v1.9.6
	github.com/k3s-io/helm-controller v0.17.7
	github.com/k8snetworkplumbingwg/network-attachment-definition-client v1.7.7
	github.com/kedacore/keda/v2 v2.21.0
	github.com/kubernetes-csi/external-snapshotter/client/v8 v8.7.0
	github.com/kyverno/kyverno v1.18.2
	github.com/open-policy-agent/gatekeeper/v3 v3.23.1
	github.com/prometheus-operator/prometheus-operator v0.85.0
	github.com/rancher/fleet v0.12.0
	go.universe.tf/metallb v0.16.2
	istio.io/api v1.31.4
	k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1
	knative.dev/serving v0.51.0
	sigs.k8s.io/cluster-api v1.14.2
	sigs.k8s.io/gateway-api v1.6.3
)
