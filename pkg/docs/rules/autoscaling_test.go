package rules

func init() {
	deployment := func(replicas, containers string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: " + replicas + "\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [" + containers + "]}\n---\n"
	}
	hpa := func(name, metric string) string {
		return "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: " + name + "}\n  metrics:\n  - " + metric
	}
	const (
		bare     = "{name: web, image: nginx}"
		requests = "{name: web, image: nginx, resources: {requests: {cpu: 100m}}}"
		limits   = "{name: web, image: nginx, resources: {limits: {cpu: 100m}}}"
		cpu      = "{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}"
	)
	cases["hpa-without-requests"] = []example{
		{"none", []string{deployment("2", bare) + hpa("web", cpu)}, []string{`17:39 container "web" of Deployment web requests no cpu`}},
		{"a sidecar has none", []string{deployment("2", requests+", {name: log, image: nginx}") + hpa("web", cpu)}, []string{`17:39 container "log"`}},
		{"v1", []string{deployment("2", bare) + "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  scaleTargetRef: {kind: Deployment, name: web}\n  targetCPUUtilizationPercentage: 50"}, []string{`16:35 requests no cpu`}},
		{"requests", []string{deployment("2", requests) + hpa("web", cpu)}, nil},
		{"limits count", []string{deployment("2", limits) + hpa("web", cpu)}, nil},
		{"defaults of a LimitRange", []string{deployment("2", bare) + hpa("web", cpu), "apiVersion: v1\nkind: LimitRange\nmetadata: {name: a}"}, nil},
		{"one container counts", []string{deployment("2", requests+", {name: log, image: nginx}") + hpa("web", "{type: ContainerResource, containerResource: {name: cpu, container: web, target: {type: Utilization}}}")}, nil},
		{"average value", []string{deployment("2", bare) + hpa("web", "{type: Resource, resource: {name: cpu, target: {type: AverageValue, averageValue: 1}}}")}, nil},
		{"no target in sight", []string{hpa("web", cpu)}, nil},
	}
	cases["hpa-target-missing"] = []example{
		{"another name", []string{deployment("2", requests) + hpa("wep", cpu)}, []string{`15:65 no Deployment "wep" of apps/v1`}},
		{"right", []string{deployment("2", requests) + hpa("web", cpu)}, nil},
		{"by itself", []string{hpa("web", cpu)}, nil},
	}
	budget := func(least string) string {
		return "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {minAvailable: " + least + ", selector: {matchLabels: {app: web}}}"
	}
	cases["pdb-blocks-all"] = []example{
		{"all", []string{deployment("2", bare) + budget("2")}, []string{`14:22 2 of 2 Pods must be available`}},
		{"one may go", []string{deployment("2", bare) + budget("1")}, nil},
		{"scaled", []string{deployment("2", bare) + budget("2") + "\n---\n" + hpa("web", cpu)}, nil},
		{"per cent", []string{deployment("2", bare) + budget("50%")}, nil},
	}
}
