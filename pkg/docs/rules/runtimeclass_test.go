package rules

func init() {
	class := func(name, handler string) string {
		return "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: " + name + "}\nhandler: " + handler
	}
	rollout := func(class string) string {
		return "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec:\n  template:\n    spec:\n      runtimeClassName: " + class + "\n      containers: [{name: a, image: nginx}]"
	}
	cases["runtime-class-unknown"] = []example{
		{"runc", []string{rollout("runc")}, []string{`8:25 RuntimeClass "runc" is defined nowhere`}},
		{"another is defined", []string{class("wasmedge", "wasmedge"), rollout("wasm")}, []string{`15:25 RuntimeClass "wasm"`}},
		{"defined later", []string{rollout("sandbox"), class("sandbox", "runsc")}, nil},
		{"brought by runtimes", []string{rollout("gvisor"), rollout("kata-qemu"), rollout("wasmtime-spin-v2"), rollout("nvidia"), rollout("wasmedge")}, nil},
		{"the API server's own", []string{"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {runtimeClassName: runc, containers: [{name: a, image: nginx}]}}}"}, nil},
	}
	cases["runtime-handler-unknown"] = []example{
		{"no table", []string{class("wasm", "wasm")}, []string{`5:10 handler "wasm"`}},
		{"containerd's table, version 2", []string{class("wasm", "wasm"), "#!toml\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.wasm]\nruntime_type = \"x\""}, nil},
		{"containerd's table, version 3", []string{class("wasm", "wasm"), "#!toml\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasm.options]"}, nil},
		{"CRI-O's table", []string{class("wasm", "wasm"), "#!toml\n[crio.runtime.runtimes.wasm]"}, nil},
		{"known", []string{class("a", "runsc"), class("b", "kata"), class("c", "crun"), class("d", "kata-clh"), class("e", "spin"), class("f", "runhcs-wcow-process")}, nil},
	}
	annotated := `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: a
  annotations: {run.oci.handler: wasm}
spec:
  template:
    metadata:
      annotations:
        module.wasm.image/variant: compat-smart
    spec:
      containers: [{name: a, image: nginx}]
`
	cases["wasm-annotation-not-passed"] = []example{
		{"nothing passes it", []string{annotated}, []string{`11:9 annotation "module.wasm.image/variant"`}},
		{"another is passed", []string{annotated, "#!toml\npod_annotations = [\"run.oci.handler\"]"}, []string{`11:9 reaches no runtime`}},
		{"containerd passes it", []string{annotated, "#!toml\npod_annotations = [\n  \"module.wasm.image/*\",\n]"}, nil},
		{"CRI-O passes it", []string{annotated, "#!toml\nallowed_annotations = ['module.wasm.image']"}, nil},
		{"other annotations", []string{"apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {module: wasm}}\nspec: {containers: [{name: a, image: nginx}]}"}, nil},
	}
}
