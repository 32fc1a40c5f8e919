//go:build e2e

package judge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// judged gives the findings of a Markdown text.
func judged(t *testing.T, j *Judge, markdown string) []docs.Finding {
	t.Helper()
	d := extract.Markdown("a.md", []byte(markdown))
	parsed := make([][]yamldoc.Doc, len(d.Examples))
	for i := range d.Examples {
		parsed[i] = classify.Parse(d.Examples[i])
		classify.Classify(&d.Examples[i], parsed[i])
	}
	found, err := j.Document(context.Background(), d, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func inShort(f docs.Finding) string {
	return fmt.Sprintf("%d:%d %s %s %s", f.Line, f.Column, f.Severity, f.Rule, f.Field)
}

// block makes a document with one example; its text starts on line 4.
func block(text string) string { return "# A\n\n```yaml\n" + text + "```\n" }

const account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web}\n"

const class = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: a\n"

const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n"

func TestFindings(t *testing.T) {
	j := started(t, "templates.gatekeeper.sh", "monitoring.coreos.com")
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"a Pod that is all right", block(pod + "spec:\n  containers:\n  - name: c\n    image: nginx:1.27\n"), nil},
		{"unknown and required fields", block("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  replica: 1\n  template:\n    spec:\n      containers:\n      - name: c\n"), []string{
			"9:3 error unknown-field spec.replica",
			"8:1 error missing-field spec.selector",
			"10:3 error missing-field spec.template.metadata.labels",
			"13:9 error missing-field spec.template.spec.containers[0].image",
		}},
		{"what is misplaced is one mistake", block(pod + "spec:\n  containers:\n  - name: c\n    image: x\n    volumeMounts: [{name: v, mountPath: /v}]\n    volumes:\n    - name: v\n      emptyDir: {}\n"), []string{
			"13:5 error unknown-field spec.containers[0].volumes",
		}},
		{"every value of a wrong type, and the rest", block("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    version: 1.5\nspec:\n  restartPolicy: Sometimes\n  containers:\n  - name: c\n    image: x\n    env:\n    - name: A\n      value: yes\n    resources:\n      limits:\n        memory: 64 MB\n"), []string{
			"9:14 error wrong-type metadata.labels.version",
			"17:14 error wrong-type spec.containers[0].env[0].value",
			"20:17 error wrong-type spec.containers[0].resources.limits.memory",
			"11:18 error api-rejected spec.restartPolicy",
		}},
		{"the label of several that is wrong", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    good: x\n    bad: \"a b\"\n"), []string{"10:10 error api-rejected metadata.labels"}},
		{"a node port is allocated for real", block("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  type: NodePort\n  ports:\n  - port: 80\n    nodePort: 80\n"), []string{"12:15 error api-rejected spec.ports[0].nodePort"}},
		{"an address of another cluster", block("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  clusterIP: 172.20.0.10\n  ports:\n  - port: 80\n"), []string{"9:14 warning cluster-dependent spec.clusterIPs"}},
		{"a RuntimeClass that isn't there, and a second mistake", block(pod + "spec:\n  runtimeClassName: sandbox.v1\n  containers:\n  - name: c\n    image: x\n    imagePullPolicy: always\n"), []string{
			"9:21 warning missing-dependency spec.runtimeClassName",
			"13:22 error api-rejected spec.containers[0].imagePullPolicy",
		}},
		{"one that is there", block("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: sandbox\nhandler: runsc\n---\n" + pod + "spec:\n  runtimeClassName: sandbox\n  containers:\n  - name: c\n    image: x\n"), nil},
		{"one that comes too late", block(pod + "spec:\n  runtimeClassName: sandbox\n  containers:\n  - name: c\n    image: x\n---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: sandbox\nhandler: runsc\n"), []string{"9:21 warning missing-dependency spec.runtimeClassName"}},
		{"a PriorityClass of the document", block("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata:\n  name: high\nvalue: 10\n---\n" + pod + "spec:\n  priorityClassName: high\n  containers:\n  - name: c\n    image: x\n"), nil},
		{"a PriorityClass of none", block(pod + "spec:\n  priorityClassName: high\n  containers:\n  - name: c\n    image: x\n"), []string{"9:22 warning missing-dependency spec.priorityClassName"}},
		{"the Pods of a workload", block("apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: a\nspec:\n  schedule: \"* * * * *\"\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          serviceAccountName: nobody\n          restartPolicy: Never\n          containers:\n          - name: c\n            image: x\n"), []string{
			"14:31 warning missing-dependency spec.jobTemplate.spec.template.spec.serviceAccountName",
		}},
		{"a workload waits for what comes later", block("apiVersion: apps/v1\nkind: StatefulSet\nmetadata:\n  name: a\nspec:\n  selector: {matchLabels: {a: b}}\n  volumeClaimTemplates:\n  - metadata: {name: data}\n    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      serviceAccountName: web\n      containers:\n      - name: c\n        image: x\n        volumeMounts: [{name: data, mountPath: /data}]\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n"), nil},
		{"a namespace that nobody creates, once", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: shop\n---\n" + pod + "  namespace: shop\nspec:\n  containers:\n  - name: c\n    image: x\n"), []string{"8:14 note missing-dependency metadata.namespace"}},
		{"one of a mark", "<!-- labctl: namespace: shop -->\n\n```yaml\n" + pod + "spec:\n  containers:\n  - name: c\n    image: x\n```\n", nil},
		{"a Pod Security level", block("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n---\n" + pod + "  namespace: shop\nspec:\n  containers:\n  - name: c\n    image: x\n"), []string{"11:1 warning admission-refused "}},
		{"is not in the next document", block("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n---\n" + pod + "  namespace: shop\nspec:\n  containers:\n  - name: c\n    image: x\n"), nil},
		{"a uid of somebody's", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  uid: abc-123\n"), []string{"8:3 error server-set-field metadata.uid"}},
		{"a resourceVersion", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  resourceVersion: \"12\"\n"), []string{"8:3 error server-set-field metadata.resourceVersion"}},
		{"what a server printed", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  creationTimestamp: \"2025-01-31T12:00:00Z\"\n  resourceVersion: \"12\"\n  uid: 5d46f743-3f21-41ab-8896-d5f55ade6028\n"), []string{"10:3 note printed-object metadata.uid"}},
		{"a status, which nobody writes", block("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  nodeNam: n\nstatus:\n  phase: Running\n"), []string{
			"10:1 note printed-object status", "9:3 warning unknown-field spec.nodeNam"}},
		{"an empty one, as generators leave it", block("apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  creationTimestamp: null\nspec:\n  nodeNam: n\n  containers: [{name: c, image: x}]\nstatus: {}\n"), []string{"10:3 error unknown-field spec.nodeNam"}},
		{"a namespace that nobody can create", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: appNs\ndat: {}\n"), []string{
			"8:14 error api-rejected metadata.namespace", "9:1 error unknown-field dat"}},
		{"a RuntimeClass that nobody can create", block(pod + "spec:\n  runtimeClassName: Sand_box\n  containers:\n  - name: c\n    image: x\n"), []string{"9:21 error api-rejected spec.runtimeClassName", "9:21 error api-rejected spec.runtimeClassName"}},
		{"an excerpt", block("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\nspec:\n  # ...\n  replicas: \"3\"\n"), []string{
			"10:13 error wrong-type spec.replicas", "8:1 note missing-field spec.selector"}},
		{"a placeholder", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: <the name>\n"), []string{"7:9 note api-rejected metadata.name"}},
		{"a family of addresses", block("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ipFamilies: [IPv6]\n  ports:\n  - port: 80\n"), []string{"9:16 warning cluster-dependent spec.ipFamilies[0]"}},
		{"the same object twice in an example", block("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: a\nhandler: one\n---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: a\nhandler: two\n"), []string{"14:10 error immutable-field handler"}},
		{"in two examples", block(pod+"spec:\n  containers:\n  - name: c\n    image: x\n") + "\n" + block(pod+"spec:\n  containers:\n  - name: c\n    image: x\n    command: [a]\n"), []string{"25:5 warning immutable-field spec.containers[0].command"}},
		{"an update that is allowed", block(pod+"spec:\n  containers:\n  - name: c\n    image: x\n") + "\n" + block(pod+"spec:\n  containers:\n  - name: c\n    image: z\n"), nil},
		{"labctl's stand-in gives way", block(pod+"spec:\n  runtimeClassName: sandbox\n  containers:\n  - name: c\n    image: x\n") + "\n" + block("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: sandbox\nhandler: runsc\n"), []string{"9:21 warning missing-dependency spec.runtimeClassName"}},
		{"a removed API", block("apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: a\n"), []string{"4:13 error removed-api apiVersion"}},
		{"a removed group", block("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata:\n  name: a\n"), []string{"4:13 error removed-api apiVersion"}},
		{"a deprecated field", block(pod + "spec:\n  nodeSelector:\n    beta.kubernetes.io/os: linux\n  containers:\n  - name: c\n    image: x\n"), []string{"10:5 warning deprecated-api spec.nodeSelector[beta.kubernetes.io/os]"}},
		{"a warning", block(pod + "spec:\n  containers:\n  - name: c\n    image: x\n    env:\n    - {name: A, value: b}\n    - {name: A, value: c}\n"), []string{"14:7 warning api-warning spec.containers[0].env[1]"}},
		{"a kind of another group", block("apiVersion: v1\nkind: CronJob\nmetadata:\n  name: a\n"), []string{"4:13 error unknown-kind apiVersion"}},
		{"a misspelt kind", block("apiVersion: apps/v1\nkind: Deploiment\nmetadata:\n  name: a\n"), []string{"5:7 error unknown-kind kind"}},
		{"a misspelt group", block("apiVersion: app/v1\nkind: Deployment\nmetadata:\n  name: a\n"), []string{"4:13 error unknown-kind apiVersion"}},
		{"a group of somebody's", block("apiVersion: widgets.example.org/v1\nkind: Widget\nmetadata:\n  name: a\n"), []string{"4:13 note unknown-api apiVersion"}},
		{"a version that a CRD doesn't serve", block("apiVersion: monitoring.coreos.com/v9\nkind: PrometheusRule\nmetadata:\n  name: a\n"), []string{"4:13 warning unserved-api apiVersion"}},
		{"a custom resource", block("apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: a\nspec:\n  groups:\n  - name: g\n    rules:\n    - alert: A\n      expr: up == 0\n      fro: 5m\n"), []string{"14:7 error unknown-field spec.groups[0].rules[0].fro"}},
		{"a CRD of the document and its resources", block(crd + "---\napiVersion: example.com/v1\nkind: Db\nmetadata:\n  name: a\nspec:\n  size: 7\n  sise: 1\n---\napiVersion: example.com/v1\nkind: Db\nmetadata:\n  name: b\nspec:\n  size: big\n---\napiVersion: example.com/v2\nkind: Db\nmetadata:\n  name: c\n"), []string{
			"32:3 error unknown-field spec.sise",
			"31:9 error api-rejected spec.size",
			"39:9 error wrong-type spec.size",
			"41:13 error unserved-api apiVersion",
		}},
		{"whose kind is gone afterwards", block("apiVersion: example.com/v1\nkind: Db\nmetadata:\n  name: a\n"), []string{"4:13 note unknown-api apiVersion"}},
		{"a constraint of Gatekeeper", block("apiVersion: templates.gatekeeper.sh/v1\nkind: ConstraintTemplate\nmetadata:\n  name: k8sneeds\nspec:\n  crd:\n    spec:\n      names:\n        kind: K8sNeeds\n      validation:\n        openAPIV3Schema:\n          type: object\n          properties:\n            labels:\n              type: array\n              items: {type: string}\n  targets:\n  - target: admission.k8s.gatekeeper.sh\n    rego: package k8sneeds\n---\napiVersion: constraints.gatekeeper.sh/v1beta1\nkind: K8sNeeds\nmetadata:\n  name: a\nspec:\n  match:\n    kinds: [{apiGroups: [\"\"], kinds: [Pod]}]\n  parameters:\n    labels: owner\n"), []string{"32:13 error wrong-type spec.parameters.labels"}},
		{"a webhook is judged, and then in nobody's way", block("apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata:\n  name: a\nwebhooks:\n- name: a.example.com\n  sideEffects: None\n  admissionReviewVersions: [v1]\n  clientConfig: {service: {name: a, namespace: default}}\n  rules: [{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n---\napiVersion: v1\nkind: ResourceQuota\nmetadata:\n  name: a\nspec:\n  hard: {configmaps: 0}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n"), nil},
		{"a list", block("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: a\n  dat: {}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {}\n"), []string{
			"11:3 error unknown-field items[0].dat",
			"14:3 error missing-field items[1].metadata.name",
		}},
		{"a name to be generated", block("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  generateName: a-\n"), nil},
		{"an Eviction isn't applied", block("apiVersion: policy/v1\nkind: Eviction\nmetadata:\n  name: a\n"), []string{"5:7 note not-judged kind"}},
		{"a mark that is right", "<!-- labctl: expect: rejected reason=\"no name\" -->\n\n```yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {}\n```\n", nil},
		{"a mark that is wrong", "<!-- labctl: expect: rejected reason=\"no name\" -->\n\n```yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n```\n", []string{"3:1 error expected-rejection "}},
		{"a mark about what nobody can judge", "<!-- labctl: expect: rejected reason=\"no name\" -->\n\n```yaml\napiVersion: widgets.example.org/v1\nkind: Widget\nmetadata: {}\n```\n", []string{"4:13 note unknown-api apiVersion"}},
		{"another order", "<!-- labctl: after: " + docs.Sum(account)[:12] + " -->\n\n```yaml\n" + pod + "spec: {serviceAccountName: web, containers: [{name: c, image: x}]}\n```\n\n```yaml\n" + account + "```\n", nil},
		{"an order that can't be", "<!-- labctl: after: 0123abcd -->\n\n```yaml\n" + account + "```\n", []string{"1:1 warning unknown-after "}},
		{"no alternatives", block(class+"handler: one\n") + "\n<!-- labctl: after: 4 -->\n\n```yaml\n" + class + "handler: two\n```\n", []string{"18:10 error immutable-field handler"}},
		{"the namespace of a command", "```bash\nkubectl apply -n one -f - <<EOF\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: two\nEOF\n```\n", []string{
			"7:14 error namespace-mismatch metadata.namespace", "7:14 note missing-dependency metadata.namespace"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			found := judged(t, j, c.text)
			for _, f := range found {
				got = append(got, inShort(f))
				if f.Message == "" || strings.Contains(f.Message, "\n") || f.Path != "a.md" || f.Example == 0 || f.SHA256 == "" {
					t.Errorf("not complete: %+v", f)
				}
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(c.want, "\n"), found)
			}
		})
	}
}

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: dbs.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: dbs, kind: Db}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              size: {type: integer, maximum: 5}
` + "# a comment\n"

// TestForeignServer judges without creating anything.
func TestForeignServer(t *testing.T) {
	throwAway := started(t)
	foreign := &Judge{client: throwAway.client, catalogue: throwAway.catalogue}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"all right, twice", block(pod+"spec:\n  containers:\n  - name: c\n    image: x\n") + block(pod+"spec:\n  containers:\n  - name: c\n    image: z\n"), nil},
		{"a mistake in a namespace that isn't there", block(pod + "  namespace: shop\nspec:\n  containers:\n  - name: c\n"), []string{
			"8:14 note missing-dependency metadata.namespace", "11:5 error missing-field spec.containers[0].image"}},
		{"what only the document has", block("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: sandbox\nhandler: runsc\n---\n" + pod + "spec:\n  runtimeClassName: sandbox\n  containers:\n  - name: c\n    image: x\n"), []string{
			"15:21 note missing-dependency spec.runtimeClassName"}},
		{"a CRD of the document", block(crd + "---\napiVersion: example.com/v1\nkind: Db\nmetadata:\n  name: a\n"), []string{"27:7 note not-judged kind"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			found := judged(t, foreign, c.text)
			for _, f := range found {
				got = append(got, inShort(f))
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(c.want, "\n"), found)
			}
		})
	}
	if found := judged(t, throwAway, block("apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: sandbox\nhandler: other\n")); len(found) > 0 {
		t.Errorf("something was created: %+v", found)
	}
}

// TestDeprecatedAPI: a server warns of Endpoints from Kubernetes 1.33 on.
func TestDeprecatedAPI(t *testing.T) {
	j := started(t)
	var got, want []string
	if j.catalogue.server.AtLeast(version.MustParseGeneric("1.33.0")) {
		want = []string{"4:13 warning deprecated-api apiVersion"}
	}
	for _, f := range judged(t, j, block("apiVersion: v1\nkind: Endpoints\nmetadata:\n  name: a\n")) {
		got = append(got, inShort(f))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v: got %q, want %q", j.catalogue.server, got, want)
	}
}

// TestHostile: documents that nobody means well with get findings or none, but
// never an error, in bounded time.
func TestHostile(t *testing.T) {
	j := started(t)
	const head = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i, i, i, i, i, i)
	}
	many := strings.Repeat("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", maxObjects+5)
	for name, text := range map[string]string{
		"deep":            head + "data: " + strings.Repeat("{a: ", 9000) + "1" + strings.Repeat("}", 9000) + "\n",
		"deep lists":      head + "data: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n",
		"bomb":            head + bomb,
		"large":           head + "data:\n  a: " + strings.Repeat("x", 2<<20) + "\n",
		"many fields":     head + strings.Repeat("x", 3) + ": 1\n" + manyFields(20_000),
		"many objects":    many,
		"control":         "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"\\e[31m\\0\\x07\"\n",
		"path as a name":  "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ../../../healthz\n  uid: x\n",
		"path as a space": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: ../../nodes?x=\n",
		"path as a kind":  "apiVersion: ../../../v1\nkind: ../../ConfigMap\nmetadata:\n  name: a\n",
		"numbers":         "apiVersion: 1\nkind: 2\nmetadata: 3\n",
		"no mapping":      "apiVersion: v1\nkind: ConfigMap\nmetadata: [1]\n",
		"merged":          head + "x: &x {a: b}\ndata:\n  <<: *x\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			found := judged(t, j, block(text))
			if took := time.Since(start); took > 3*time.Minute {
				t.Errorf("it took %s", took)
			}
			for _, f := range found {
				if len(f.Message) > 4000 || strings.ContainsAny(f.Message, "\n\x1b\x00") {
					t.Errorf("a message of %d bytes: %.200q", len(f.Message), f.Message)
				}
			}
			t.Logf("%d findings in %s", len(found), time.Since(start).Round(time.Millisecond))
		})
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "f%d: 1\n", i)
	}
	return b.String()
}

func TestInterrupted(t *testing.T) {
	j := started(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := extract.Markdown("a.md", []byte(block(pod)))
	parsed := [][]yamldoc.Doc{classify.Parse(d.Examples[0])}
	classify.Classify(&d.Examples[0], parsed[0])
	if found, err := j.Document(ctx, d, parsed); err == nil || found != nil {
		t.Errorf("got %v, %v", found, err)
	}
}
