package rules

func init() {
	web := `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web, tier: front}}
  template:
    metadata: {labels: {app: web, tier: front}}
    spec:
      containers:
      - name: web
        image: nginx
        ports: [{name: http, containerPort: 80}, {containerPort: 443}]
---`
	service := func(name, spec string) string {
		return "\napiVersion: v1\nkind: Service\nmetadata: {name: " + name + "}\nspec:\n" + spec
	}
	cases["selector-matches-nothing"] = []example{
		{"one label differs", []string{web + service("front", "  selector: {app: web, tier: frontend}")}, []string{`19:3 no Pod of the document has these labels; those of Deployment web have "app=web", "tier=front"`}},
		{"same name in another block", []string{web, service("web", "  selector:\n    name: web")}, []string{`22:3 no Pod of the document`}},
		{"policy", []string{web + `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: guard}
spec:
  podSelector:
    matchExpressions: [{key: app, operator: In, values: [webserver]}]
    matchLabels: {tier: frontend}
`}, []string{`19:3 no Pod of the document`}},
		{"budget", []string{web + `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guard}
spec: {selector: {matchLabels: {app: web-app}}}
`}, []string{`18:8 no Pod of the document`}},
		{"it matches", []string{web + service("front", "  selector: {app: web}")}, nil},
		{"Pods of another kind of workload", []string{web + service("db", "  selector: {app: db}")}, nil},
		{"made by an operator", []string{web + service("kafka", "  selector: {strimzi.io/cluster: web}")}, nil},
		{"another namespace", []string{web + "\napiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: b}\nspec: {selector: {app: web, tier: y}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: b, labels: {app: web, tier: y}}"}, nil},
		{"no selector, or all", []string{web + service("web", "  ports: [{port: 80}]") + "\n---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\nspec: {podSelector: {}}"}, nil},
		{"no workload in sight", []string{service("front", "  selector: {app: web}")}, nil},
	}
	rollout := func(label string) string {
		return "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: " + label + "}}\n    spec: {containers: [{name: a, image: nginx}]}"
	}
	cases["selector-template-mismatch"] = []example{
		{"Rollout", []string{rollout("b")}, []string{`6:3 doesn't match the labels of the Pod template below: "app=b"`}},
		{"right", []string{rollout("a")}, nil},
		{"template is left out in part", []string{"apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: a}\nspec: {selector: {matchLabels: {app: a}}, template: {spec: {containers: [{name: a, image: nginx}]}}}"}, nil},
		{"the API server says it", []string{"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: b}}, spec: {containers: [{name: a, image: nginx}]}}}"}, nil},
	}
	cases["service-port-unmatched"] = []example{
		{"name", []string{web + service("web", "  selector: {app: web}\n  ports: [{port: 80, targetPort: web}]")}, []string{`20:34 no container of Deployment web has a port named "web"`}},
		{"it has it", []string{web + service("web", "  selector: {app: web}\n  ports: [{port: 80, targetPort: http}, {port: 443}, {port: 5, targetPort: \"443\"}]")}, nil},
		{"no Pods in sight", []string{service("web", "  selector: {app: web}\n  ports: [{port: 80, targetPort: web}]")}, nil},
		{"one of several workloads has it", []string{web + "\napiVersion: v1\nkind: Pod\nmetadata: {name: b, labels: {app: web}}\nspec: {containers: [{name: a, ports: [{name: web, containerPort: 1}]}]}\n---" + service("web", "  selector: {app: web}\n  ports: [{port: 80, targetPort: web}]")}, nil},
	}
	cases["service-port-undeclared"] = []example{
		{"targetPort", []string{web + service("web", "  selector: {app: web}\n  ports:\n  - port: 80\n    targetPort: 8080")}, []string{`22:17 declare other ports than 8080: 80, 443`}},
		{"port without targetPort", []string{web + service("web", "  selector: {app: web}\n  ports:\n  - port: 8080")}, []string{`21:11 other ports than 8080`}},
		{"declared", []string{web + service("web", "  selector: {app: web}\n  ports: [{port: 8080, targetPort: 80}, {port: 443}]")}, nil},
		{"another block", []string{web, service("web", "  selector: {app: web}\n  ports: [{port: 8080}]")}, nil},
		{"nothing is declared", []string{"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nspec: {containers: [{name: a, image: nginx}]}\n---" + service("a", "  selector: {app: a}\n  ports: [{port: 8080}]")}, nil},
	}
	cases["external-name-address"] = []example{
		{"IPv4", []string{service("db", "  type: ExternalName\n  externalName: 10.0.0.7")}, []string{`7:17 "10.0.0.7" is an address`}},
		{"name", []string{service("db", "  type: ExternalName\n  externalName: db.example.com")}, nil},
	}
	cases["external-name-cluster"] = []example{
		{"by its name", []string{service("cross-cluster-db", "  type: ExternalName\n  externalName: db.west.svc.cluster.local")}, []string{`7:17 this cluster's own DNS`}},
		{"by a comment", []string{"# 跨集群访问" + service("db", "  type: ExternalName\n  externalName: db.west.svc")}, []string{`8:17 this cluster's own DNS`}},
		{"another namespace", []string{"# an alias in another namespace" + service("db", "  type: ExternalName\n  externalName: db.west.svc.cluster.local")}, nil},
		{"reachable from outside", []string{service("cross-cluster-db", "  type: ExternalName\n  externalName: db.west.example.com")}, nil},
	}
	stateful := func(name string) string {
		return "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  serviceName: " + name + "\n---"
	}
	cases["statefulset-service-unmatched"] = []example{
		{"another name", []string{stateful("db") + service("db-headless", "  clusterIP: None")}, []string{`6:16 none of the document's Services is named "db"`}},
		{"right", []string{stateful("db") + service("db", "  clusterIP: None")}, nil},
		{"defined in another block", []string{stateful("db") + service("x", "  clusterIP: None"), service("db", "  clusterIP: None")}, nil},
		{"no Services beside it", []string{stateful("db")}, nil},
	}
}
