package rules

func init() {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{name: http, port: 80, targetPort: 8080}]}\n---\n"
	ingress := func(name, port, path, kind string) string {
		return `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  rules:
  - http:
      paths:
      - path: ` + path + `
        pathType: ` + kind + `
        backend:
          service:
            name: ` + name + `
            port: ` + port
	}
	cases["ingress-backend-unmatched"] = []example{
		{"name", []string{service + ingress("wep", "{number: 80}", "/", "Prefix")}, []string{`18:19 other names than "wep"`}},
		{"the container's port", []string{service + ingress("web", "{number: 8080}", "/", "Prefix")}, []string{`19:13 Service "web" has no such port`}},
		{"port by name", []string{service + ingress("web", "{name: https}", "/", "Prefix")}, []string{`19:13 Service "web" has no such port`}},
		{"right", []string{service + ingress("web", "{number: 80}", "/", "Prefix"), service + ingress("web", "{name: http}", "/", "Prefix")}, nil},
		{"no Services beside it", []string{ingress("api", "{number: 80}", "/", "Prefix")}, nil},
		{"defined in another block", []string{service + ingress("api", "{number: 80}", "/", "Prefix"), "apiVersion: v1\nkind: Service\nmetadata: {name: api}\nspec: {ports: [{port: 80}]}"}, nil},
		{"by an annotation", []string{service + ingress("ssl-redirect", "{name: use-annotation}", "/", "Prefix")}, nil},
	}
	cases["ingress-path-regex"] = []example{
		{"group", []string{ingress("web", "{number: 80}", "/api/(.*)", "Prefix")}, []string{`9:15 "/api/(.*)" is a regular expression, and pathType Prefix`}},
		{"exact", []string{ingress("web", "{number: 80}", `/a\d+`, "Exact")}, []string{`9:15 pathType Exact`}},
		{"for the controller", []string{ingress("web", "{number: 80}", "/api/(.*)", "ImplementationSpecific")}, nil},
		{"plain", []string{ingress("web", "{number: 80}", "/v1.0/a-b_c~d", "Prefix")}, nil},
	}
}
