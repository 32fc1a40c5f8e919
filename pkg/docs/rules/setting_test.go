package rules

func init() {
	cases["setting-without-effect"] = []example{
		{"label that must be an annotation", []string{`
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    linkerd.io/inject: enabled
    pod-security.kubernetes.io/enforced: baseline
  annotations:
    istio-injection: enabled
`}, []string{`7:5 "linkerd.io/inject" as label of a Namespace`, `8:5 the modes are enforce, audit and warn`, `10:5 "istio-injection" as annotation`}},
		{"Pods", []string{`
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  template:
    metadata:
      annotations:
        scheduler.alpha.kubernetes.io/tolerations: "[]"
    spec:
      nodeSelector: {node-role.kubernetes.io/master: ""}
      tolerations:
      - {key: node-role.kubernetes.io/master, effect: NoSchedule}
      affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node-role.kubernetes.io/master, operator: Exists}]}]}}}
      containers: [{name: a, image: nginx, env: [{name: WASMEDGE_WASI_SOCKET, value: "1"}]}]
`}, []string{`9:9 "scheduler.alpha.kubernetes.io/tolerations" as annotation of a Pod`, `11:22 "node-role.kubernetes.io/master" as label that chooses nodes`, `13:15 as taint that is tolerated`, `14:128 as label`, `15:57 "WASMEDGE_WASI_SOCKET" as environment variable has no effect: WasmEdge reads no such variable`}},
		{"where they belong", []string{`
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {istio-injection: enabled, pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn-version: v1.30}
  annotations: {linkerd.io/inject: enabled}
---
apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {linkerd.io/inject: enabled}}
spec:
  nodeSelector: {node-role.kubernetes.io/control-plane: ""}
  tolerations: [{key: node-role.kubernetes.io/master}, {key: node-role.kubernetes.io/control-plane}]
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: node-role.kubernetes.io/master, operator: DoesNotExist}]}]}}}
  containers: [{name: a, image: nginx}]
`}, nil},
	}
	configMap := func(metadata, data string) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {" + metadata + "}\ndata: {" + data + "}"
	}
	cases["configmap-key-missing"] = []example{
		{"flannel", []string{configMap("name: kube-flannel-cfg, namespace: kube-flannel", "cni-conf.json: x")}, []string{`5:1 flannel reads the key "net-conf.json"`}},
		{"complete", []string{configMap("name: kube-flannel-cfg, namespace: kube-system", "cni-conf.json: x, net-conf.json: y"), configMap("name: coredns, namespace: kube-system", "Corefile: x")}, nil},
		{"another namespace", []string{configMap("name: coredns, namespace: shop", "a: b")}, nil},
	}
	filter := func(runtime string) string {
		return "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: a}\nspec:\n  configPatches:\n  - patch: {value: {typed_config: {config: {vm_config: {runtime: " + runtime + "}}}}}"
	}
	cases["envoy-wasm-runtime"] = []example{
		{"no extension", []string{filter("wasmedge")}, []string{`7:66 Envoy has no WebAssembly runtime "wasmedge"`}},
		{"unknown extension", []string{filter("envoy.wasm.runtime.wasmer")}, []string{`7:66 "envoy.wasm.runtime.wasmer"`}},
		{"V8", []string{filter("envoy.wasm.runtime.v8")}, nil},
	}
	profile := func(name string) string {
		return "apiVersion: linkerd.io/v1alpha2\nkind: ServiceProfile\nmetadata: {name: " + name + ", namespace: shop}"
	}
	cases["serviceprofile-name"] = []example{
		{"short", []string{profile("till")}, []string{`4:18 such as till.shop.svc.cluster.local`}},
		{"full", []string{profile("till.shop.svc.cluster.local")}, nil},
	}
}
