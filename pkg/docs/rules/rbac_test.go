package rules

func init() {
	role := func(groups, resources string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: a}\nrules:\n- apiGroups: " + groups + "\n  resources: " + resources + "\n  verbs: [get]"
	}
	cases["rbac-api-group"] = []example{
		{"version, core", []string{role(`["apps/v1", core, v1]`, "[pods]")}, []string{`6:15 "apps/v1" is no API group; write "apps"`, `6:26 "core" is no API group; write ""`, `6:32 "v1" is no API group; write ""`}},
		{"groups", []string{role(`["", apps, "*", example.com]`, "[pods, deployments]")}, nil},
	}
	cases["rbac-resource-name"] = []example{
		{"kind", []string{role(`[""]`, "[Pods, Secret]")}, []string{`7:15 no resource is named "Pods"; it is "pods"`, `7:21 no resource is named "Secret"; it is "secrets"`}},
		{"singular", []string{role(`[networking.k8s.io]`, "[networkpolicy, ingress/status]")}, []string{`7:15 it is "networkpolicies"`, `7:30 it is "ingresses"`}},
		{"kind of a custom resource", []string{role(`[example.com]`, "[Tills]")}, []string{`7:15 plurals in lower case`}},
		{"resources", []string{role(`["", example.com]`, `[pods, pods/log, tills, "*"]`), role("[example.com]", "[pod]")}, nil},
	}
	cases["rbac-resource-group"] = []example{
		{"deployments in the core group", []string{role(`[""]`, "[pods, deployments/scale]")}, []string{`7:21 deployments are in the API group "apps"`}},
		{"right", []string{role(`["", apps]`, "[pods, deployments]"), role(`["*"]`, "[deployments]"), role(`[events.k8s.io]`, "[events]")}, nil},
		{"a custom group may have one", []string{role(`[serving.knative.dev]`, "[services]"), role("[extensions]", "[ingresses]")}, nil},
		{"another rule has it", []string{role(`[""]`, "[pods, deployments]") + "\n- apiGroups: [apps]\n  resources: [deployments]\n  verbs: [get]"}, nil},
	}
}
