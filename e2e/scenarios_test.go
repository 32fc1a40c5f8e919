//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// scenarioLabel marks the namespaces of scenarios.
const scenarioLabel = "labctl.dev/scenario"

// e2eLabel is put on a node by scenarios of these tests.
const e2eLabel = "e2e.labctl.dev/scenario"

// scenario is one claim of a test lab: the parameters of its probe s, and what
// it should come to.
type scenario struct {
	id, with, decide string
	// want is the verdict, or empty where the probe should break with an error
	// that holds all of say.
	want lab.Verdict
	say  []string
}

const quotaManifest = `apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {requests.cpu: 500m}}
`

// deployManifest is two Pods that end at once when they are told to.
const deployManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: "${IMAGE}", imagePullPolicy: IfNotPresent, args: [sleep, 1h]}
`

// aPod is a Pod in place, with more of its spec.
func aPod(name, more string) string {
	return fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, labels: {app: %[1]s}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: main, image: "${IMAGE}", imagePullPolicy: IfNotPresent, args: [sleep, 1h]%s}]}}`, name, more)
}

const podRuns = `- wait: {kind: Pod, name: p, for: "object.status.phase == 'Running'"}`

var scenarios = []scenario{
	{
		id: "refused-and-accepted",
		with: `
steps:
- apply: quota.yaml
- wait: {kind: ResourceQuota, name: small, for: "object.?status.?hard.hasValue()"}
- objects: [` + aPod("p", `, resources: {requests: {cpu: 300m}}`) + `]
  as: first
  values: [{name: policy, type: string, cel: object.spec.restartPolicy}]
- objects: [` + aPod("q", `, resources: {requests: {cpu: 300m}}`) + `]
  as: second
- objects: [{apiVersion: v1, kind: Pod, metadata: {name: r}, spec: {containerz: []}}]
  as: third
- objects: [{apiVersion: v1, kind: Pod, metadata: {name: r}, spec: {containerz: []}}]
  mode: create
  as: strict
- objects: [{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: r}}]
  as: fourth
- objects: [` + aPod("q", `, resources: {requests: {cpu: 200m}}`) + `]
  mode: dry-run
  as: fifth
- wait: {kind: Pod, name: q, for: "object == null", timeout: 5s}
- get: {kind: ResourceQuota, name: small}
  values: [{name: used, type: quantity, cel: "object.status.used['requests.cpu']"}]
  as: quota`,
		decide: `s.first.accepted && s.first.code == 201 && s.first.policy == "Always" && !s.second.accepted && s.second.code == 403 && s.second.reason == "Forbidden" && s.second.message.contains("exceeded quota: small") ` +
			`&& !s.third.accepted && s.third.message.contains("containerz") && s.strict.code == 400 && s.strict.reason == "BadRequest" && s.strict.message.contains("containerz") && s.fourth.code == 404 && s.fifth.accepted && s.quota.used == quantity("300m")`,
		want: lab.Confirmed,
	},
	{
		id: "conditions",
		with: `
steps:
- objects: [` + aPod("p", ``) + `]
- wait: {kind: Pod, name: p, for: "object.status.phase == 'Running'", hold: 500ms}
  as: running
- wait: {kind: Pod, name: p, for: "object.status.phase == 'Succeeded'", timeout: 1s}
  as: never
- wait: {kind: Pod, name: none, for: "object.status.phase == 'Running'", timeout: 1s}
  as: nobody
- delete: {kind: Pod, name: p}
- wait: {kind: Pod, name: p, for: "object == null"}
  as: gone
- delete: {kind: Pod, name: p}
  as: again`,
		decide: `s.running.met && !s.never.met && s.never.after >= duration("1s") && !s.nobody.met && s.gone.met && s.again.code == 404 && s.again.reason == "NotFound"`,
		want:   lab.Confirmed,
	},
	{
		id: "a-condition-that-must-be-met",
		with: `
steps:
- objects: [` + aPod("p", `, envFrom: [{configMapRef: {name: missing}}]`) + `]
- wait: {kind: Pod, selector: app=p, for: "objects.all(o, o.status.phase == 'Running')", timeout: 6s}
- get: {kind: Pod, name: p}
  values: [{name: phase, type: string, cel: object.status.phase}]
  as: got`,
		decide: `s.got.phase == ""`,
		say:    []string{"steps[1] (wait)", "not met after 6s", "Pod p:", "phase Pending", "container main: ", `configmap "missing" not found`},
	},
	{
		id: "a-condition-with-a-mistake",
		with: `
steps:
- objects: [` + aPod("p", ``) + `]
- wait: {kind: Pod, name: p, for: "object.status.phaze == 'Running'", timeout: 1s}
  as: typo`,
		decide: `!s.typo.met`,
		say:    []string{"steps[1] (wait as typo)", "no such key: phaze", "object.?status"},
	},
	{
		id: "every-change",
		with: `
steps:
- apply: deploy.yaml
- wait: {kind: Deployment, name: web, for: "object.?status.?availableReplicas.orValue(0) == 2"}
- watch: {kind: Pod, selector: app=web}
  as: pods
  until: rolled
  values: [{name: ready, type: int, cel: "objects.filter(o, !has(o.metadata.deletionTimestamp) && o.?status.?conditions.orValue([]).exists(c, c.type == 'Ready' && c.status == 'True')).size()"}]
- patch: {kind: Deployment, name: web, merge: {spec: {template: {metadata: {annotations: {turn: "2"}}}}}}
- wait: {kind: Deployment, name: web, for: "object.status.observedGeneration == object.metadata.generation && object.?status.?updatedReplicas.orValue(0) == 2 && object.status.replicas == 2 && object.?status.?availableReplicas.orValue(0) == 2"}
  as: rolled
- watch: {kind: Deployment, name: web}
  as: scale
  values: [{name: wanted, type: int, cel: object.spec.replicas}]
- patch: {kind: Deployment, name: web, subresource: scale, merge: {spec: {replicas: 5}}}
- patch: {kind: Deployment, name: web, subresource: scale, merge: {spec: {replicas: "${pods.ready.min}"}}}
- patch: {kind: Deployment, name: web, merge: {spec: {replicas: -1}}}
  as: negative`,
		decide: `s.pods.ready.min == 2 && s.pods.ready.first == 2 && s.pods.ready.last == 2 && s.pods.changes > 4 && s.scale.wanted.max == 5 && s.scale.wanted.last == 2 && s.negative.code == 422`,
		want:   lab.Confirmed,
	},
	{
		id: "in-containers",
		with: `
steps:
- objects: [` + aPod("p", ``) + `]
- objects: [{apiVersion: v1, kind: Pod, metadata: {name: short}, spec: {restartPolicy: Never, containers: [{name: main, image: "${IMAGE}", args: [identity]}]}}]
` + podRuns + `
- wait: {kind: Pod, name: short, for: "object.status.phase == 'Succeeded'"}
- exec: {pod: p, container: main}
  labprobe: [identity]
  as: id
- exec: {pod: p}
  command: [/labprobe, nothing]
  as: wrong
- exec: {pod: p}
  command: [nothere]
  as: nothere
- logs: {pod: short}
  as: log
- node: {script: 'evidence namespace "$NAMESPACE"', outputs: [{name: namespace, type: string}], node: "${NODE}"}
  as: node
- get: {kind: Namespace, name: "${NAMESPACE}"}
  values: [{name: name, type: string, cel: object.metadata.name}]
  as: own`,
		decide: `s.id.kernel.release != "" && s.wrong.exit == 2 && s.wrong.stderr.contains("unknown labprobe command") && s.nothere.exit == 127 && s.log.text.contains('"labprobe":"v1"') && s.node.namespace == s.own.name`,
		want:   lab.Confirmed,
	},
	{
		id: "namespaces",
		with: `
namespace: {labels: {pod-security.kubernetes.io/enforce: restricted}}
others: [b]
steps:
- objects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {where: "${NAMESPACE.b}"}}]
  namespace: b
- objects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: "${NAMESPACE.b}"}}]
- get: {kind: ConfigMap, selector: labctl.dev/namespace}
  namespace: b
  values: [{name: names, type: list, cel: "objects.map(o, o.metadata.name)"}, {name: where, type: string, cel: "objects[0].data.where"}]
  as: there
- get: {kind: ConfigMap, selector: labctl.dev/namespace}
  values: [{name: count, type: int, cel: objects.size()}]
  as: here
- get: {kind: ConfigMap, name: coredns}
  namespace: kube-system
  values: [{name: file, type: string, cel: object.data.Corefile}]
  as: dns
- objects: [` + aPod("p", ``) + `]
  as: pod`,
		decide: `s.there.names == ["a", "c"] && s.there.where.endsWith("-b") && s.here.count == 0 && s.dns.file.contains("kubernetes") && s.pod.reason == "Forbidden" && s.pod.message.contains("PodSecurity")`,
		want:   lab.Confirmed,
	},
	{
		id: "budget",
		with: `
steps:
- objects:
  - ` + aPod("p", ``) + `
  - {apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: one}, spec: {minAvailable: 1, selector: {matchLabels: {app: p}}}}
` + podRuns + `
- wait: {kind: PodDisruptionBudget, name: one, for: "object.?status.?currentHealthy.orValue(0) == 1"}
- delete: {kind: Pod, name: p, evict: true}
  as: evicted
- objects: [{apiVersion: authorization.k8s.io/v1, kind: SubjectAccessReview, spec: {user: "system:serviceaccount:${NAMESPACE}:default", resourceAttributes: {namespace: "${NAMESPACE}", verb: list, resource: pods}}}]
  mode: create
  values: [{name: allowed, type: bool, cel: object.status.allowed}]
  as: review`,
		decide: `s.evicted.code == 429 && s.evicted.reason == "TooManyRequests" && !s.review.allowed`,
		want:   lab.Confirmed,
	},
	{
		id: "outside",
		with: `
steps:
- objects: [{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: "${NAMESPACE}-first"}, value: 7}]
- patch: {kind: Node, name: "${NODE}", merge: {metadata: {labels: {` + e2eLabel + `: "yes"}}}}
- patch: {kind: ConfigMap, name: coredns, merge: {data: {e2e: "yes"}}}
  namespace: kube-system
- get: {kind: Node, name: "${NODE}"}
  values: [{name: label, type: string, cel: "object.metadata.labels['` + e2eLabel + `']"}]
  as: node
- get: {kind: PriorityClass, name: "${NAMESPACE}-first"}
  values: [{name: value, type: int, cel: object.value}]
  as: class`,
		decide: `s.node.label == "yes" && s.class.value == 7`,
		want:   lab.Confirmed,
	},
	{
		id: "the-users-object",
		with: `
steps:
- objects: [{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: e2e-users}, handler: mine}]
  as: mine`,
		decide: `s.mine.accepted`,
		say:    []string{"steps[0] (objects as mine)", "RuntimeClass e2e-users", "left alone"},
	},
	{
		id: "deletes-the-users-object",
		with: `
steps:
- delete: {kind: RuntimeClass, name: e2e-users}
  as: gone`,
		decide: `s.gone.accepted`,
		say:    []string{"steps[0] (delete as gone)", "isn't the scenario's"},
	},
	{
		id:     "nodes-that-there-are-not",
		with:   `{steps: [{get: {kind: Node, name: "${NODE.99}"}, values: [{name: name, type: string, cel: object.metadata.name}], as: node}]}`,
		decide: `s.node.name == ""`,
		want:   lab.Untestable,
	},
	{
		id:     "an-image-that-there-is-not",
		with:   `{steps: [{objects: [{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: main, image: "${IMAGE.e2e-none}"}]}}], as: made}]}`,
		decide: `s.made.accepted`,
		want:   lab.Untestable,
	},
}

// writeScenarios writes a catalogue with one lab, whose claims are scenarios.
func writeScenarios(t *testing.T, list []scenario) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("apiVersion: labctl.dev/v1alpha1\nkind: Lab\nmetadata: {name: scenarios}\nspec:\n  document: docs/x.md\n  title: {en: X, zh: X}\n  layer: kubernetes\n  claims:\n")
	for _, s := range list {
		fmt.Fprintf(&b, "    - id: %s\n      statement: {en: X, zh: X}\n      source: {heading: X, line: 1, sha256: %q}\n      layer: kubernetes\n", s.id, strings.Repeat("0", 64))
		fmt.Fprintf(&b, "      probes:\n        - as: s\n          kind: cluster\n          with:\n%s\n", indent(strings.TrimSpace(s.with), 12))
		fmt.Fprintf(&b, "      decide: |\n        %s\n      expect: confirmed\n", s.decide)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "labs", "scenarios", "lab.yaml"), b.String())
	write(t, filepath.Join(dir, "manifests", "quota.yaml"), quotaManifest)
	write(t, filepath.Join(dir, "manifests", "deploy.yaml"), deployManifest)
	return dir
}

func indent(text string, by int) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.Repeat(" ", by) + lines[i]
	}
	return strings.Join(lines, "\n")
}

// TestScenarios runs scenarios of every verb side by side, those that turn out
// well and those that must not, and wants the cluster to be what it was.
func TestScenarios(t *testing.T) {
	_, client := shared(t)
	users := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "e2e-users"}, Handler: "runc"}
	users, err := client.NodeV1().RuntimeClasses().Create(t.Context(), users, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.NodeV1().RuntimeClasses().Delete(context.Background(), users.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("the user's RuntimeClass: %v", err)
		}
	})
	mine := owned(t, client)

	got, r := verify(t, "--catalogue", writeScenarios(t, scenarios), "scenarios")
	if r.code != 1 {
		t.Errorf("exit code %d, want 1: some scenarios break", r.code)
	}
	claims := got.Labs[0].Claims
	for i, s := range scenarios {
		t.Run(s.id, func(t *testing.T) {
			c := claims[i]
			if c.Verdict != s.want || (c.Error == "") != (s.want != "") {
				t.Errorf("%q, want %q: %v %s\n%s", c.Verdict, s.want, c.Reason, c.Error, all(c))
			}
			for _, text := range s.say {
				if !strings.Contains(c.Error, text) {
					t.Errorf("the error says nothing of %q: %s", text, c.Error)
				}
			}
		})
	}
	if got.Labs[0].Error != "" {
		t.Error(got.Labs[0].Error)
	}
	asBefore(t, client, mine)
	kept, err := client.NodeV1().RuntimeClasses().Get(t.Context(), users.Name, metav1.GetOptions{})
	if err != nil || kept.UID != users.UID || kept.Handler != "runc" {
		t.Errorf("the user's RuntimeClass: %v, %v", kept, err)
	}
}

func all(c result.Claim) string {
	var b strings.Builder
	for _, v := range c.Evidence {
		b.WriteString("  " + v.Name + " = " + v.Text() + "\n")
	}
	return b.String()
}

// owned are the names of scenarios' namespaces that are there already: those
// of other tests.
func owned(t *testing.T, client kubernetes.Interface) []string {
	t.Helper()
	list, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: scenarioLabel})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, ns := range list.Items {
		names = append(names, ns.Name)
	}
	return names
}

// asBefore wants nothing left of scenarios but the namespaces that were there
// before, and that what they patched is what it was.
func asBefore(t *testing.T, client kubernetes.Interface, before []string) {
	t.Helper()
	for _, name := range owned(t, client) {
		if !slices.Contains(before, name) {
			t.Errorf("namespace %s is left behind", name)
		}
	}
	restored(t, client)
}

// restored wants nothing outside of namespaces left of scenarios, and that
// what they patched is what it was.
func restored(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	classes, err := client.SchedulingV1().PriorityClasses().List(t.Context(), metav1.ListOptions{LabelSelector: "labctl.dev/namespace"})
	if err != nil || len(classes.Items) > 0 {
		t.Errorf("PriorityClasses left behind: %v, %v", classes.Items, err)
	}
	nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: e2eLabel})
	if err != nil || len(nodes.Items) > 0 {
		t.Errorf("%d nodes have the label still: %v", len(nodes.Items), err)
	}
	dns, err := client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil || dns.Data["e2e"] != "" || dns.Data["Corefile"] == "" {
		t.Errorf("the ConfigMap of CoreDNS: %v, %v", dns.Data, err)
	}
}

// lasting is a scenario that patches a node, makes an object outside of its
// namespace, and then waits for a minute.
var lasting = scenario{
	id: "lasting",
	with: `
steps:
- objects: [{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: "${NAMESPACE}-lasting"}, value: 7}]
- patch: {kind: Node, name: "${NODE}", merge: {metadata: {labels: {` + e2eLabel + `: "yes"}}}}
- objects: [` + aPod("p", ``) + `]
- wait: {kind: Pod, name: p, for: "object.status.phase == 'Succeeded'", timeout: 1m}
  as: never`,
	decide: `s.never.met`,
}

// start runs the lasting scenario until it has patched the node.
func start(t *testing.T, client kubernetes.Interface) (kill func(os.Signal), wait func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := command(t.Context(), "verify", "--name", sharedName, "--catalogue", writeScenarios(t, []scenario{lasting}), "scenarios")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: e2eLabel})
		if err != nil {
			t.Fatal(err)
		}
		if len(nodes.Items) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended too early: %v\n%s", err, out.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	kill = func(s os.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	wait = func() {
		select {
		case err := <-ended:
			t.Logf("it ended: %v", err) // killed or interrupted, so rarely nil
		case <-time.After(30 * time.Second):
			t.Fatalf("it doesn't end:\n%s", out.String())
		}
	}
	return kill, wait
}

// TestScenarioInterrupted wants a run that is ended to put back and remove
// what it can at once; its namespace goes by itself.
func TestScenarioInterrupted(t *testing.T) {
	_, client := shared(t)
	before := owned(t, client)
	kill, wait := start(t, client)
	kill(syscall.SIGINT)
	wait()
	restored(t, client)
	for _, name := range owned(t, client) {
		if slices.Contains(before, name) {
			continue
		}
		ns, err := client.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err == nil && ns.DeletionTimestamp == nil {
			t.Errorf("namespace %s isn't being removed", name)
		}
	}
}

// TestScenarioKilled wants the next run to do what a killed one couldn't.
func TestScenarioKilled(t *testing.T) {
	_, client := shared(t)
	before := owned(t, client)
	kill, wait := start(t, client)
	kill(syscall.SIGKILL)
	wait()
	var left string
	for _, name := range owned(t, client) {
		if slices.Contains(before, name) {
			continue
		}
		left = name
		// Nobody holds it any more; that it has been so for long is said here,
		// so that the test needn't wait.
		long := []byte(`{"metadata":{"annotations":{"labctl.dev/held-until":"2020-01-01T00:00:00Z"}}}`)
		if _, err := client.CoreV1().Namespaces().Patch(t.Context(), name, types.MergePatchType, long, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if left == "" {
		t.Fatal("the killed run left no namespace")
	}
	small := scenario{id: "small", with: `{steps: [{get: {kind: Node, name: "${NODE}"}, values: [{name: name, type: string, cel: object.metadata.name}], as: node}]}`, decide: `s.node.name != ""`}
	if _, r := verify(t, "--catalogue", writeScenarios(t, []scenario{small}), "scenarios"); r.code != 0 {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	restored(t, client)
	ns, err := client.CoreV1().Namespaces().Get(t.Context(), left, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) && (err != nil || ns.DeletionTimestamp == nil) {
		t.Errorf("namespace %s isn't being removed: %v", left, err)
	}
}
