package rules

func init() {
	policy := func(name, spec string) string {
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: " + name + "}\nspec:\n  podSelector: {}\n" + spec
	}
	cases["networkpolicy-allows-all"] = []example{
		{"comment behind an empty rule", []string{policy("a", "  policyTypes: [Egress]\n  egress:\n  - to: []\n    ports: # 禁止出站")}, []string{`9:5 this rule allows all egress, and its comment says otherwise ("禁止出站")`}},
		{"comment above", []string{policy("a", "  ingress:\n  # deny everything else\n  - {}")}, []string{`9:5 allows all ingress`}},
		{"name", []string{policy("deny-all", "  policyTypes: [Ingress]\n  ingress: [{}]")}, []string{`8:13 its name says otherwise`}},
		{"direction that isn't named", []string{policy("default-deny-egress", "  policyTypes: [Ingress]")}, []string{`7:3 policyTypes doesn't name Egress`}},
		{"denied", []string{policy("deny-all", "  policyTypes: [Ingress, Egress]"), policy("default-deny-egress", "  policyTypes: [Egress]\n  egress: [] # deny all")}, nil},
		{"ingress is denied, egress allowed", []string{policy("default-deny-ingress", "  policyTypes: [Ingress, Egress]\n  egress:\n  - {}")}, nil},
		{"allowed on purpose", []string{policy("allow-all", "  ingress:\n  # allow all, even what default-deny denies\n  - {}"), policy("open", "  ingress:\n  - {}")}, nil},
		{"peers", []string{policy("a", "  egress:\n  # block all but this\n  - to: [{ipBlock: {cidr: 10.0.0.0/8}}]")}, nil},
	}
	cases["networkpolicy-blocks-dns"] = []example{
		{"Pods by label", []string{policy("a", "  policyTypes: [Egress]\n  egress:\n  - to: [{podSelector: {matchLabels: {app: db}}}]\n    ports: [{port: 5432}]")}, []string{`8:3 no rule of the document allows DNS`}},
		{"port 53", []string{policy("a", "  egress:\n  - to: [{podSelector: {matchLabels: {app: db}}}]\n  - ports: [{port: 53, protocol: UDP}]")}, nil},
		{"range of ports", []string{policy("a", "  egress:\n  - to: [{namespaceSelector: {}}]\n    ports: [{port: 1, endPort: 1024}]")}, nil},
		{"into all namespaces", []string{policy("a", "  egress:\n  - to: [{namespaceSelector: {}}]")}, nil},
		{"another policy allows it", []string{policy("a", "  egress:\n  - to: [{podSelector: {}}]"), policy("dns", "  egress:\n  - to: [{namespaceSelector: {}}]\n    ports: [{port: 53, protocol: UDP}, {port: 53}]")}, nil},
		{"addresses alone", []string{policy("a", "  egress:\n  - to: [{ipBlock: {cidr: 10.0.0.0/24}}]\n    ports: [{port: 5978}]")}, nil},
		{"egress isn't restricted", []string{policy("a", "  ingress:\n  - from: [{podSelector: {}}]")}, nil},
	}
	cases["networkpolicy-denies-egress"] = []example{
		{"left out", []string{policy("api", "  policyTypes: [Ingress, Egress]\n  ingress: [{from: [{podSelector: {}}]}]")}, []string{`7:3 denies all outgoing traffic`}},
		{"said", []string{policy("api", "  policyTypes: [Ingress, Egress]\n  ingress: [{from: [{podSelector: {}}]}]\n  egress: []"), policy("default-deny", "  policyTypes: [Ingress, Egress]")}, nil},
	}
	cases["networkpolicy-dns-udp-only"] = []example{
		{"UDP", []string{policy("dns", "  policyTypes: [Egress]\n  egress:\n  - ports: [{port: 53, protocol: UDP}]")}, []string{`9:5 TCP (port 53) stays blocked`}},
		{"both", []string{policy("dns", "  egress:\n  - ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]")}, nil},
		{"all ports", []string{policy("dns", "  egress:\n  - to: [{namespaceSelector: {}}]")}, nil},
	}
	agent := func(host string) string {
		return "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: agent}\nspec: {template: {metadata: {labels: {app: agent}}, spec: {hostNetwork: " + host + ", containers: [{name: a, image: nginx}]}}}"
	}
	guard := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: guard}\nspec:\n  podSelector:\n    matchLabels: {app: agent}\n  ingress: []"
	cases["networkpolicy-host-network"] = []example{
		{"on the host", []string{agent("true"), guard}, []string{`13:3 the Pods of DaemonSet agent that it selects run in the host's network`}},
		{"not on the host", []string{agent("false"), guard}, nil},
		{"all Pods of a namespace", []string{agent("true"), policy("a", "  ingress: []")}, nil},
	}
	cases["networkpolicy-peer-namespace"] = []example{
		{"two entries", []string{policy("a", "  egress:\n  - to:\n    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}\n    - podSelector:\n        matchLabels: {k8s-app: kube-dns}")}, []string{`10:7 k8s-app: kube-dns are in kube-system`}},
		{"one entry", []string{policy("a", "  egress:\n  - to:\n    - namespaceSelector: {}\n      podSelector: {matchLabels: {k8s-app: kube-dns}}")}, nil},
		{"in kube-system", []string{"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: kube-system}\nspec: {egress: [{to: [{podSelector: {matchLabels: {k8s-app: kube-dns}}}]}]}"}, nil},
	}
	selects := "  ingress:\n  - from:\n    - namespaceSelector:\n        matchLabels:\n          name: shop"
	cases["namespace-selector-label"] = []example{
		{"nothing sets it", []string{policy("a", selects)}, []string{`11:11 nothing in the document gives a namespace the label name: shop`}},
		{"another Namespace has it", []string{policy("a", selects), "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {name: till}}"}, []string{`11:11 label name: shop`}},
		{"a Namespace has it", []string{policy("a", selects), "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {name: shop}}"}, nil},
		{"a command sets it", []string{"#!\nkubectl label namespace shop name=shop", policy("a", selects)}, nil},
		{"the label of every namespace", []string{policy("a", "  ingress:\n  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]")}, nil},
	}
}
