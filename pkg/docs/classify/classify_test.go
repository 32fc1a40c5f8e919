package classify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// classified gives class, format and objects with their lines of a text.
func classified(language, text string) string {
	e := docs.Example{Language: language, Text: text, Position: docs.Position{Line: 10}}
	for i := range strings.Count(text, "\n") + 1 {
		e.Lines = append(e.Lines, docs.Position{Line: 11 + i, Column: 1})
	}
	Classify(&e, Parse(e))
	s := strings.TrimSpace(fmt.Sprint(e.Class, " ", e.Format))
	for _, o := range e.Objects {
		s += fmt.Sprintf(" [%s %s %s/%s %d:%d]", o.APIVersion, o.Kind, o.Namespace, o.Name, o.Line, o.Column)
	}
	return s
}

func TestObjects(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  containers:\n    - name: web\n      image: nginx:1.29\n"
	const rollout = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: shop\n"
	for name, tt := range map[string]struct{ language, text, want string }{
		"one":                {"yaml", "# a Pod\n" + pod, "kubernetes [v1 Pod shop/web 12:1]"},
		"two":                {"yml", pod + "---\n" + pod, "kubernetes [v1 Pod shop/web 11:1] [v1 Pod shop/web 21:1]"},
		"no separator":       {"yaml", pod + "# the other\n" + pod, "kubernetes [v1 Pod shop/web 11:1] [v1 Pod shop/web 21:1]"},
		"custom and not":     {"yaml", pod + "---\n" + rollout, "custom [v1 Pod shop/web 11:1] [argoproj.io/v1alpha1 Rollout /shop 21:1]"},
		"custom":             {"yaml", rollout, "custom [argoproj.io/v1alpha1 Rollout /shop 11:1]"},
		"without language":   {"", pod, "kubernetes [v1 Pod shop/web 11:1]"},
		"JSON":               {"json", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}`, "kubernetes [v1 Namespace /shop 11:1]"},
		"text":               {"text", pod, "prose"},
		"shell":              {"bash", pod, "code"},
		"list":               {"yaml", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n- apiVersion: x.example.org/v1\n  kind: A\n", "custom [v1 Secret /a 14:3] [x.example.org/v1 A / 17:3]"},
		"empty list":         {"yaml", "apiVersion: v1\nkind: List\nitems: []\n", "kubernetes [v1 List / 11:1]"},
		"removed API":        {"yaml", "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata:\n  name: a\n", "kubernetes [extensions/v1beta1 Ingress /a 11:1]"},
		"removed kind":       {"yaml", "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: a\n", "kubernetes [policy/v1beta1 PodSecurityPolicy /a 11:1]"},
		"kind that isn't":    {"yaml", "apiVersion: v1\nkind: RuntimeClass\nmetadata:\n  name: a\n", "kubernetes [v1 RuntimeClass /a 11:1]"},
		"definition":         {"yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: a\n", "kubernetes [apiextensions.k8s.io/v1 CustomResourceDefinition /a 11:1]"},
		"no version":         {"yaml", "apiVersion: monitoring.coreos.com\nkind: Prometheus\nmetadata:\n  name: a\n", "custom [monitoring.coreos.com Prometheus /a 11:1]"},
		"other numbers":      {"yaml", "apiVersion: 0.0.2\nkind: entry\nbody: x\n", "fragment"},
		"a group like ours":  {"yaml", "apiVersion: autoscaling.k8s.io/v1\nkind: VerticalPodAutoscaler\nmetadata:\n  name: a\n", "custom [autoscaling.k8s.io/v1 VerticalPodAutoscaler /a 11:1]"},
		"config, resource":   {"yaml", "apiVersion: config.gatekeeper.sh/v1alpha1\nkind: Config\nmetadata:\n  name: config\nspec: {}\n", "custom [config.gatekeeper.sh/v1alpha1 Config /config 11:1]"},
		"broken":             {"yaml", pod + "   tty: true\n", "kubernetes [v1 Pod / 11:1]"},
		"broken, second":     {"yaml", rollout + "---\n" + pod + " x\n: [\n", "custom [argoproj.io/v1alpha1 Rollout /shop 11:1] [v1 Pod / 16:1]"},
		"left out":           {"yaml", "apiVersion: apps/v1\nkind: Deployment\nspec:\n  ...\n", "fragment kubernetes"},
		"left out, a line":   {"yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  ...\nspec:\n  hostNetwork: true\n", "fragment kubernetes"},
		"dots that count":    {"yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  more: \"...\"\n", "kubernetes [v1 ConfigMap /a 11:1]"},
		"Helm":               {"yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ include \"shop.fullname\" . }}\n", "fragment helm-template"},
		"Helm, quoted":       {"yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: \"{{ .Release.Name }}-web\"\n", "fragment helm-template"},
		"Helm in a file":     {"yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  t.yaml: |\n    x: {{ .Values.x }}\n", "kubernetes [v1 ConfigMap /a 11:1]"},
		"other templates":    {"yaml", "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata:\n  generateName: a-\nspec:\n  x: \"{{inputs.parameters.x}}\"\n", "custom [argoproj.io/v1alpha1 Workflow / 11:1]"},
		"aliases that swell": {"yaml", "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\nservices: [*f,*f,*f,*f]\n", "fragment"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := classified(tt.language, tt.text); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestBuiltIn(t *testing.T) {
	for object, want := range map[string]bool{
		"v1 Pod": true, "apps/v1 Deployment": true, "batch/v2alpha1 CronJob": true, "settings.k8s.io/v1alpha1 PodPreset": true,
		"apiregistration.k8s.io/v1 APIService": true, "v1 List": true,
		"v1 Config": false, "serving.knative.dev/v1 Service": false, "core/v1 Pod": false, "v1 ": false, "Pod v1": false,
		"apps Deployment": false, "a/b/c D": false, "kubelet.config.k8s.io/v1beta1 KubeletConfiguration": false,
	} {
		apiVersion, kind, _ := strings.Cut(object, " ")
		if got := BuiltIn(apiVersion, kind); got != want {
			t.Errorf("BuiltIn(%q, %q) = %v", apiVersion, kind, got)
		}
	}
}

// TestFiles are objects for programs, not for an API server.
func TestFiles(t *testing.T) {
	for object, want := range map[string]string{
		"kubelet.config.k8s.io/v1beta1 KubeletConfiguration": "kubelet",
		"kubeadm.k8s.io/v1beta4 InitConfiguration":           "kubeadm",
		"kind.x-k8s.io/v1alpha4 Cluster":                     "kind",
		"k3d.io/v1alpha5 Simple":                             "k3d",
		"kustomize.config.k8s.io/v1beta1 Kustomization":      "kustomize",
		"skaffold/v4beta11 Config":                           "skaffold",
		"install.istio.io/v1alpha1 IstioOperator":            "istio-operator",
		"audit.k8s.io/v1 Policy":                             "audit-policy",
		"apiserver.config.k8s.io/v1 EncryptionConfiguration": "kube-apiserver",
		"v1 Config": "kubeconfig",
		"client.authentication.k8s.io/v1 ExecCredential": "kubeconfig",
		"eksctl.io/v1alpha5 ClusterConfig":               "eksctl",
		"new.config.k8s.io/v1 NewConfiguration":          "new",
		"config.shop.example.com/v1 ManagerConfig":       "config.shop.example.com",
	} {
		apiVersion, kind, _ := strings.Cut(object, " ")
		if got := classified("yaml", "apiVersion: "+apiVersion+"\nkind: "+kind+"\n"); got != "config "+want {
			t.Errorf("%s: got %s, want config %s", object, got, want)
		}
	}
	both := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
	if got := classified("yaml", both); got != "kubernetes [v1 Secret /a 14:1]" {
		t.Errorf("a file and an object are %s", got)
	}
}

func TestFormats(t *testing.T) {
	for _, tt := range []struct{ want, text string }{
		{"config compose", "name: shop\nservices:\n  web:\n    build: .\n  db:\n    image: postgres:17\nvolumes:\n  data:\n"},
		{"config compose", "services:\n  web: &web\n    image: shop:1.0\n  worker:\n    <<: *web\n    command: work\n"},
		{"fragment compose", "services:\n  web:\n    image: shop:1.0\n    ...\n"},
		{"prose", "services:\n  - the web site of the shop\n  - a data base behind it\n"},
		{"config docker-registry", "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: /srv\n"},
		{"config k3s", "write-kubeconfig-mode: \"0644\"\ntls-san:\n  - edge.example.org\ndisable: [traefik]\n"},
		{"config k3s", "server: https://edge.example.org:6443\ntoken: secret\nnode-label:\n- site=a\n"},
		{"fragment", "token: secret\nserver: https://edge.example.org\n"},
		{"config k3s-registries", "mirrors:\n  docker.io:\n    endpoint: [https://mirror.example.org]\nconfigs:\n  mirror.example.org:\n    auth: {username: a, password: b}\n"},
		{"config otel-collector", "receivers:\n  otlp:\n    protocols: {grpc: }\nexporters:\n  debug:\nservice:\n  pipelines:\n    traces: {receivers: [otlp], exporters: [debug]}\n"},
		{"config otel-collector", "processors:\n  batch/fast:\n    timeout: 1s\n"},
		{"config otel-collector", "exporters:\n  my_exporter:\n    endpoint: a:1\n"},
		{"fragment otel-collector", "service:\n  telemetry:\n    logs: {level: debug}\n"},
		{"fragment", "processors:\n  - add_host_metadata:\n      cache.ttl: 5m\n"},
		{"config prometheus", "global:\n  scrape_interval: 15s\nscrape_configs:\n  - job_name: shop\n    static_configs:\n      - targets: [\"shop:8080\"]\n"},
		{"fragment prometheus", "- job_name: shop\n  static_configs:\n    - targets: [\"shop:8080\"]\n"},
		{"config prometheus-rules", "groups:\n- name: shop\n  rules:\n  - record: shop:errors\n    expr: sum(rate(errors[5m]))\n"},
		{"fragment prometheus-rules", "- alert: Slow\n  expr: latency > 1\n  for: 5m\n  annotations:\n    summary: The shop is slow for its customers\n"},
		{"config alertmanager", "route:\n  receiver: team\n  group_by: [alertname]\nreceivers:\n- name: team\n  slack_configs:\n  - channel: '#shop'\n"},
		{"config grafana-datasource", "apiVersion: 1\ndatasources:\n- name: Prometheus\n  type: prometheus\n  url: http://prometheus:9090\n"},
		{"config grafana-dashboards", "apiVersion: 1\nproviders:\n- name: shop\n  folder: Shop\n  type: file\n"},
		{"config loki", "auth_enabled: false\nserver: {http_listen_port: 3100}\nschema_config:\n  configs:\n  - {from: 2024-01-01, store: tsdb}\n"},
		{"config helm-chart", "apiVersion: v2\nname: shop\nversion: 1.2.3\ntype: application\n"},
		{"config helm-values", "image:\n  repository: example.org/shop\n  tag: \"1.0\"\nservice:\n  type: ClusterIP\n  port: 80\n"},
		{"config helm-values", "controller:\n  replicaCount: 2\n  service:\n    type: LoadBalancer\n"},
		{"fragment", "feature:\n  enabled: true\nother:\n  enabled: false\nreplicas: 3\n"},
		{"config kustomize", "resources:\n- ../base\n- service.yaml\nimages:\n- name: shop\n  newTag: \"1.1\"\n"},
		{"config kustomize", "configMapGenerator:\n- name: settings\n  literals: [a=b]\n"},
		{"config github-workflow", "name: build\non: push\njobs:\n  build:\n    runs-on: ubuntu-24.04\n    steps:\n    - uses: actions/checkout@v4\n    - run: make\n"},
		{"config github-workflow", "on:\n  workflow_dispatch:\njobs:\n  call:\n    uses: ./.github/workflows/build.yml\n"},
		{"fragment github-workflow", "- uses: actions/checkout@v4\n- name: Build\n  run: make\n"},
		{"fragment github-workflow", "jobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n    - run: make test\n"},
		{"config gitlab-ci", "stages: [build, test]\nbuild:\n  stage: build\n  script:\n    - make\n"},
		{"config gitlab-ci", "unit-test:\n  image: golang:1.26\n  script: go test ./...\n"},
		{"config circleci", "version: 2.1\njobs:\n  build:\n    docker: [{image: cimg/go:1.26}]\n    steps: [checkout]\n"},
		{"config azure-pipelines", "trigger: [main]\npool: {vmImage: ubuntu-latest}\nsteps:\n- script: make\n"},
		{"config dependabot", "version: 2\nupdates:\n- package-ecosystem: gomod\n  directory: /\n"},
		{"config pre-commit", "repos:\n- repo: https://example.org/hooks\n  rev: v1\n  hooks: [{id: lint}]\n"},
		{"config envoy", "static_resources:\n  listeners:\n  - name: http\n"},
		{"config opa", "services:\n  acme: {url: https://example.org}\nbundles:\n  authz: {service: acme, resource: bundle.tar.gz}\n"},
		{"config falco-rules", "- macro: in_shop\n  condition: container.name = shop\n- rule: shell in the shop\n  desc: A shell was started\n  condition: in_shop and proc.name = bash\n  output: shell\n  priority: WARNING\n"},
		{"config ansible-playbook", "- hosts: all\n  become: true\n  tasks:\n  - name: Install containerd\n    ansible.builtin.apt: {name: containerd}\n"},
		{"fragment ansible-playbook", "- name: Install containerd\n  ansible.builtin.apt:\n    name: containerd\n"},
		{"config cloud-init", "#cloud-config\npackages: [curl]\nruncmd:\n- curl -sfL https://get.k3s.io | sh -\n"},
		{"config netplan", "network:\n  version: 2\n  ethernets:\n    eth0: {dhcp4: true}\n"},
		{"config openapi", "openapi: 3.1.0\ninfo: {title: Shop, version: \"1\"}\npaths: {}\n"},
		{"config thanos-objstore", "type: S3\nconfig:\n  bucket: metrics\n"},
		{"config talos", "machine: {type: worker}\ncluster: {clusterName: a}\n"},
		{"config traefik", "entryPoints:\n  web: {address: \":80\"}\n"},
		{"config seccomp", "defaultAction: SCMP_ACT_ERRNO\nsyscalls: []\n"},
		{"config spring", "spring:\n  datasource: {url: jdbc}\n"},
		{"config dockerfile", "# syntax=docker/dockerfile:1\nARG V=1\nFROM golang:${V} AS build\nRUN go build \\\n  -o /shop .\nCMD [\"/shop\"]\n"},
		{"config containerd", "version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n"},
	} {
		if got := classified("yaml", tt.text); got != tt.want {
			t.Errorf("got %s, want %s:\n%s", got, tt.want, tt.text)
		}
	}
}

func TestOtherLanguages(t *testing.T) {
	for _, tt := range []struct{ language, text, want string }{
		{"json", `{"registry-mirrors": ["https://mirror.example.org"]}`, "config docker-daemon"},
		{"json", `{"runtimes": {"runsc": {"path": "/usr/local/bin/runsc"}}}`, "config docker-daemon"},
		{"json", `{"cniVersion": "1.0.0", "name": "net", "type": "bridge"}`, "config cni"},
		{"json", `{"name": "web", "labels": {"a": "b"}}`, "code"},
		{"jsonc", "{\n  // a comment\n  \"debug\": true\n}", "code"},
		{"toml", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runsc]\nruntime_type = 'io.containerd.runsc.v1'\n", "config containerd"},
		{"toml", "[plugins.\"io.containerd.grpc.v1.cri\"]\n  broken\n", "config containerd"},
		{"toml", "server = 'https://docker.io'\n[host.'https://mirror.example.org']\ncapabilities = ['pull']\n", "config containerd-hosts"},
		{"toml", "[crio.runtime]\ndefault_runtime = 'crun'\n", "config crio"},
		{"toml", "[package]\nname = 'shop'\n", "config cargo"},
		{"toml", "[tool]\nx = 1\n", "code"},
		{"toml", "[", "code"},
		{"dockerfile", "FROM scratch\n", "config dockerfile"},
		{"", "FROM alpine:3.22\nRUN apk add curl\n", "config dockerfile"},
		{"", "services:\n  web:\n    image: nginx:1.29\n", "config compose"},
		{"", "Name:  web\nStatus: Running\n", "prose"},
		{"", "spec:\n  hostNetwork: true\n", "prose"},
		{"text", "a\n", "prose"},
		{"go", "package main\n", "code"},
		{"rego", "package shop\n", "code"},
	} {
		if got := classified(tt.language, tt.text); got != tt.want {
			t.Errorf("%s: got %s, want %s:\n%s", tt.language, got, tt.want, tt.text)
		}
	}
}

func TestFragmentOrProse(t *testing.T) {
	for _, tt := range []struct{ want, text string }{
		{"fragment kubernetes", "spec:\n  template:\n    spec:\n      hostNetwork: true\n"},
		{"fragment kubernetes", "metadata:\n  labels:\n    app: web\n"},
		{"fragment kubernetes", "containers:\n- name: web\n  image: nginx:1.29\n  ports:\n  - containerPort: 80\n"},
		{"fragment kubernetes", "- name: web\n  image: nginx:1.29\n  resources: {limits: {memory: 1Gi}}\n"},
		{"fragment kubernetes", "securityContext:\n  runAsNonRoot: true\n  capabilities: {drop: [ALL]}\n"},
		{"fragment kubernetes", "livenessProbe:\n  httpGet: {path: /healthz, port: http}\n  periodSeconds: 5\n"},
		{"fragment kubernetes", "rules:\n- apiGroups: [\"\"]\n  resources: [pods]\n  verbs: [get]\n"},
		{"fragment json-schema", "type: object\nproperties:\n  size: {type: integer}\n"},
		{"fragment", "server:\n  port: 8080\n  host: shop.example.org\n"},
		{"fragment", "server:\n  port: 8080\n   host: a\n  mode: fast\n  level: 1\n"},
		{"fragment", "a: 1\n{% if x %}\nb: {{ y }}\n{% endif %}\n"},
		{"prose", ""},
		{"prose", "# only a comment\n"},
		{"prose", "kubectl get pods -o yaml\n"},
		{"prose", "Images:\n  - [ ] all images are signed\n  - [x] tags are fixed\n"},
		{"prose", "Use distroless images: they have no shell\nAPI server: make it highly available\n"},
		{"prose", "if the cluster is small: use Flannel\nelse: use Cilium\n"},
		{"prose", "benefits:\n- fewer parts that can break\n- less memory on each node\ncosts:\n- two programs to keep up to date\n"},
		{"prose", "cost = nodes × price (per month)\n"},
		{"prose", "选型:\n  场景: 边缘节点\n  原因: 资源占用低\n"},
		{"prose", "runtime: 启动快、占用低\nnetwork: 简单易用\n"},
		{"prose", "plan:\n  - step one: do this\n    * and that\n"},
		{"prose", "targets:\n  [ - '<host>' ]\n"},
		{"prose", "# The name. It is required.\nname: <string>\n\n# How often.\n[ interval: <duration> | default = 1m ]\n"},
		{"fragment", "spec:\n  containers:\n  - name: a\n   image: b\n"},
		{"config compose", "services:\n  web:\n    image: nginx:1.29\n   ports: [80]\n"},
		{"fragment kubernetes", "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ name }}\n  labels: {{ labels }}\n"},
		{"fragment compose", "services:\n  web:\n    image: {{ image }}:{{ tag }}\n"},
	} {
		if got := classified("yaml", tt.text); got != tt.want {
			t.Errorf("got %s, want %s:\n%s", got, tt.want, tt.text)
		}
	}
}

// TestHostile shows that no text takes long.
func TestHostile(t *testing.T) {
	const size = 1 << 18
	wide := func(line string) string {
		var b strings.Builder
		for i := 0; b.Len() < size; i++ {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"keys":              wide("k%d: a\n"),
		"keys that are ids": "exporters:\n" + wide("  otlp/%d: {}\n"),
		"jobs":              wide("j%d: {script: a}\n"),
		"flags":             wide("node-label: [a]\nk%d: a\n"),
		"broken documents":  wide("--- a: [%d\n"),
		"broken":            wide("a: b: %d\n"),
		"items":             wide("- name: a%d\n"),
		"deep":              strings.Repeat("{image: ", 9000) + strings.Repeat("}", 9000),
		"objects":           wide("apiVersion: v1\nkind: A%d\n"),
		"templates":         wide("a%d: {{ x }}\n"),
		"aliases":           "a: &a {" + strings.TrimSuffix(strings.Repeat("x, ", 1000), ", ") + "}\ngroups: [" + strings.Repeat("*a, ", 100_000) + "]",
		"dockerfile":        wide("FROM a%d\n"),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			got := classified("yaml", text)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%d bytes took %v", len(text), took)
			} else {
				t.Logf("%v: %.60s", took, got)
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{
		"apiVersion: v1\nkind: Pod\n---\n- a\n", "apiVersion: v1\nkind: A\napiVersion: v1\nkind: B\n", "services: {web: {image: a}}",
		"on: push\njobs: {a: {runs-on: b}}", "{{ .Values.x }}\na: 1\n", "a:\n  ...\n", "FROM a\nRUN b\n", "apiVersion: v1\nkind: [\n",
		"image: {repository: a, tag: b}\n", "spec: &a {x: *a}\n", "- [ ] a\n", "%YAML 1.2\n---\na: [\n", "选型: 原因\n",
	} {
		f.Add("yaml", s)
		f.Add("", s)
	}
	f.Add("json", `{"apiVersion": "v1", "kind": "Pod"}`)
	f.Add("toml", "[plugins.'io.containerd.cri.v1.runtime']\n")
	classes := map[docs.Class]bool{docs.Kubernetes: true, docs.Custom: true, docs.Config: true, docs.Fragment: true, docs.Prose: true, docs.Code: true}
	f.Fuzz(func(t *testing.T, language, text string) {
		e := docs.Example{Language: language, Text: text}
		lines := strings.Count(text, "\n") + 1
		for i := range lines {
			e.Lines = append(e.Lines, docs.Position{Line: i + 1, Column: 1})
		}
		Classify(&e, Parse(e))
		objects := e.Class == docs.Kubernetes || e.Class == docs.Custom
		switch {
		case !classes[e.Class]:
			t.Errorf("class %q", e.Class)
		case objects != (len(e.Objects) > 0):
			t.Errorf("%d objects of class %s", len(e.Objects), e.Class)
		case e.Class == docs.Config && e.Format == "":
			t.Error("a configuration without a format")
		case e.Format != "" && e.Class != docs.Config && e.Class != docs.Fragment:
			t.Errorf("format %s of class %s", e.Format, e.Class)
		}
		for _, o := range e.Objects {
			if o.APIVersion == "" || o.Kind == "" || o.Line < 1 || o.Line > lines {
				t.Errorf("object %+v of %d lines", o, lines)
			}
		}
	})
}
