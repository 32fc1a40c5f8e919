package rules

func init() {
	cases["unresolved-placeholder"] = []example{
		{"angle brackets, capitals, dots", []string{`
apiVersion: v1
kind: PersistentVolume
metadata:
  name: <your-volume>
spec:
  nfs:
    server: nfs.YOUR_DOMAIN
    path: /<卷 路径>
  storageClassName: "..."
`}, []string{`5:9 "<your-volume>"`, `8:13 "YOUR_DOMAIN"`, `9:11 "<卷 路径>"`, `10:21 "..."`}},
		{"PEM block", []string{`
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: signed}
spec:
  publicKeys: |-
    -----BEGIN PUBLIC KEY-----
    ...
    -----END PUBLIC KEY-----
`}, []string{`6:15 the PEM block has "..."`}},
		{"what Kubernetes, shells and people read", []string{`
apiVersion: v1
kind: Pod
metadata:
  name: web
  annotations: {note: "<a@example.com>", todo: TODO}
spec:
  containers:
  - name: web
    image: nginx
    command: [sh, -c, "cat <in >out; echo ${HOME}"]
    args: ["--pod=$(POD)", "<none>"]
    env: [{name: POD, value: "$(NODE)/x"}, {name: PAGE, value: "<h1>hello</h1>"}, {name: S, value: "a <b> c"}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data:
  index.html: <html>
  url: ${HOST}
`}, nil},
		{"names that only look so", []string{"apiVersion: v1\nkind: Namespace\nmetadata: {name: my-todo, labels: {op: INSERT_BEFORE, size: xx, v: a...b}}"}, nil},
	}
	cases["unexpanded-variable"] = []example{
		{"variable that nobody expands", []string{`
apiVersion: v1
kind: Namespace
metadata:
  name: ${TEAM}-prod
`}, []string{`5:9 "${TEAM}" stays as it is: neither kubectl`}},
		{"quoted here-document", []string{"#!\ncat <<'EOF' | kubectl apply -f -\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: $TEAM\nEOF"}, []string{`6:9 "$TEAM" stays as it is: the here-document`}},
		{"here-document that the shell expands", []string{"#!\nkubectl apply -f - <<EOF\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: ${TEAM}\nEOF"}, nil},
		{"envsubst", []string{"#!\nenvsubst < ns.yaml | kubectl apply -f -", "apiVersion: v1\nkind: Namespace\nmetadata: {name: \"${TEAM}\"}"}, nil},
		{"other programs expand it", []string{"apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: a}\nspec: {image: \"${IMAGE}\"}"}, nil},
		{"Kubernetes, a shell or another program expands it", []string{`
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - name: a
    image: nginx
    args: ["${HOME}", "$(POD)"]
    env: [{name: A, value: "$(POD)"}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
data: {a: "${B}"}
`}, nil},
	}
	cases["template-not-rendered"] = []example{
		{"quoted", []string{`
apiVersion: v1
kind: Service
metadata:
  name: "{{ .Release.Name }}"
`}, []string{`5:9 {{ }} isn't rendered`}},
		{"no YAML at all", []string{`
apiVersion: v1
kind: Service
{{- if .Values.x }}
metadata:
  name: {{ .Release.Name }}
{{- end }}
`}, []string{`4:1 {{ }} isn't rendered`}},
		{"Argo's own templates", []string{"apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: a}\nspec: {template: {metadata: {name: \"{{name}}\"}}}"}, nil},
		{"in a ConfigMap", []string{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {t: \"{{ range . }}\"}"}, nil},
		{"a provisioner's own template", []string{"apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: a}\nparameters: {path: \"{{ .PVC.Name }}\"}"}, nil},
		{"broken otherwise", []string{"apiVersion: v1\nkind: Service\n  x: {{}}: ["}, nil},
	}
}
