//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// guideLab is a lab for people whose third step makes an object outside of the
// namespace.
const guideLab = `apiVersion: labctl.dev/v1alpha1
kind: Lab
metadata:
  name: for-people
spec:
  document: none.md
  title: {en: For people, zh: 给人用的}
  layer: L-3
  claims:
    - id: people-1
      statement: {en: X, zh: X}
      source: {heading: X, line: 1, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
      layer: L-3
      expect: planned
      because: {en: X, zh: X}
  steps:
    - title: {en: Make a ConfigMap, zh: 创建 ConfigMap}
      run: labctl manifest people/greeting.yaml | kubectl apply -f -
      look: {en: It names a node., zh: 它写着节点名。}
      check:
        kind: ConfigMap
        name: greeting
        for: object != null && object.data.node != ""
        hint: {en: Apply the greeting., zh: 应用问候语。}
    - title: {en: Look at it, zh: 看看它}
      run: kubectl get configmap greeting -o jsonpath={.data.node}
      look: {en: The first node., zh: 第一个节点。}
    - title: {en: Make a class, zh: 创建类}
      run: labctl manifest people/class.yaml | kubectl apply -f -
      look: {en: It is cluster-wide., zh: 它属于整个集群。}
      check:
        kind: RuntimeClass
        selector: labctl.dev/namespace=lab
        for: objects.exists(c, c.metadata.name == "lab-class")
        hint: {en: Apply the class., zh: 应用类。}
    - title: {en: Something that this server doesn't have, zh: 服务器没有的东西}
      run: "true"
      look: {en: Nothing., zh: 没有。}
      check: {kind: Unheard, name: x, for: object != null, hint: {en: There is none., zh: 没有。}}
`

// people is a catalogue with guideLab.
func people(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "labs", "for-people", "lab.yaml"), guideLab)
	write(t, filepath.Join(dir, "manifests", "people", "greeting.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {node: \"${NODE}\"}\n")
	write(t, filepath.Join(dir, "manifests", "people", "class.yaml"), "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: \"${NAMESPACE}-class\"}\nhandler: runc\n")
	return dir
}

// TestGuide goes through a lab as a person does: not done, done, undone by
// hand, and reset.
func TestGuide(t *testing.T) {
	_, client := shared(t)
	at := []string{"--name", sharedName, "--catalogue", people(t)}
	here := func(args ...string) run { return labctl(t.Context(), append(args, at...)...) }
	wants := func(what string, r run, code int, say ...string) {
		t.Helper()
		if r.code != code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", what, r.code, code, r.stdout, r.stderr)
		}
		for _, text := range say {
			if !strings.Contains(r.stdout, text) {
				t.Errorf("%s says nothing of %q\n%s%s", what, text, r.stdout, r.stderr)
			}
		}
	}
	must(t, "reset", "--name", sharedName)
	t.Cleanup(func() { labctl(context.Background(), "reset", "--name", sharedName) })

	wants("the spec's checks", labctl(t.Context(), "lint", "--catalogue", at[3]), 0)
	wants("nothing is done", here("check", "for-people"), 1, "not yet   Make a ConfigMap", "Apply the greeting.", "-         Look at it", "doesn't know the kind Unheard")
	wants("one step, in Chinese", here("check", "for-people", "--step", "1", "--lang", "zh"), 1, "未完成", "应用问候语。")

	r := here("run", "for-people", "--step", "2")
	wants("two steps are done", r, 0, "configmap/greeting created", "done      Make a ConfigMap", "control-plane")
	wants("what is done isn't done again", here("run", "for-people", "--step", "3"), 0, "done      Make a ConfigMap", "lab-class created", "done      Make a class")
	wants("steps 1 and 3 are done", here("check", "for-people"), 1, "done      Make a ConfigMap", "done      Make a class", "not yet   Something")
	wants("for machines", here("check", "for-people", "--step", "3", "-o", "json"), 0, `"state": "done"`)

	if err := client.CoreV1().ConfigMaps("lab").Delete(t.Context(), "greeting", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wants("undone by hand", here("check", "for-people", "--step", "1"), 1, "Apply the greeting.")

	wants("reset", labctl(t.Context(), "reset", "--name", sharedName), 0, "removed RuntimeClass lab-class", "removed Namespace lab")
	if _, err := client.CoreV1().Namespaces().Get(t.Context(), "lab", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace after reset: %v", err)
	}
	if _, err := client.NodeV1().RuntimeClasses().Get(t.Context(), "lab-class", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the class after reset: %v", err)
	}
	wants("reset of nothing", labctl(t.Context(), "reset", "--name", sharedName), 0)
	wants("after reset", here("check", "for-people", "--step", "3"), 1, "Apply the class.")
}

// TestGuidesOfTheLabs does every step of the labs about containers and
// sandboxes that has a check.
func TestGuidesOfTheLabs(t *testing.T) {
	shared(t)
	t.Cleanup(func() { labctl(context.Background(), "reset", "--name", sharedName) })
	for lab, step := range map[string]string{"isolation-stack": "5", "l-3-containerization": "5", "l-4-sandboxing": "6"} {
		must(t, "run", lab, "--step", step, "--name", sharedName)
		must(t, "check", lab, "--name", sharedName)
		must(t, "guide", lab)
	}
}

// TestShellAndKubectl runs commands where labctl shell leads, on a machine
// with and without kubectl.
func TestShellAndKubectl(t *testing.T) {
	_, client := shared(t)
	t.Cleanup(func() { labctl(context.Background(), "reset", "--name", sharedName) })
	// All programs of this machine but kubectl.
	bare := t.TempDir()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		programs, err := os.ReadDir(dir)
		if err != nil {
			continue // PATH may name folders that aren't there
		}
		for _, p := range programs {
			if p.Name() == "kubectl" {
				continue
			}
			if err := os.Symlink(filepath.Join(dir, p.Name()), filepath.Join(bare, p.Name())); err != nil && !errors.Is(err, fs.ErrExist) {
				t.Fatal(err)
			}
		}
	}
	script := `printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-shell}\n' >"$0"
kubectl apply -f "$0"
kubectl get configmap of-shell -o name
kubectl get configmap of-shell -o jsonpath={.metadata.namespace} | cat
kubectl get configmap none || echo "code $?"
kubectl delete -f - <"$0"`
	for name, path := range map[string]string{"the machine's kubectl": os.Getenv("PATH"), "the node's kubectl": bare} {
		t.Run(name, func(t *testing.T) {
			if name == "the machine's kubectl" {
				if _, err := exec.LookPath("kubectl"); err != nil {
					t.Skip("this machine has no kubectl of its own")
				}
			}
			var stdout, stderr bytes.Buffer
			cmd := command(t.Context(), "shell", "--name", sharedName, "--", "sh", "-eu", "-c", script, filepath.Join(t.TempDir(), "of-shell.yaml"))
			cmd.Env = append(cmd.Env, "PATH="+path)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			want := "configmap/of-shell created\nconfigmap/of-shell\nlabcode 1\nconfigmap \"of-shell\" deleted"
			if err != nil || !strings.HasPrefix(stdout.String(), want) || !strings.Contains(stderr.String(), "NotFound") {
				t.Errorf("%v\n%s%s", err, stdout.String(), stderr.String())
			}
		})
	}
	if r := labctl(t.Context(), "kubectl", "--name", sharedName, "get", "configmap", "none"); r.code != 1 || !strings.Contains(r.stderr, "NotFound") || r.stdout != "" {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := labctl(t.Context(), "shell", "--name", sharedName, "--", "sh", "-c", "exit 7"); r.code != 7 {
		t.Errorf("the exit code of a command at the shell is %d", r.code)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "labctl-desk-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := client.CoreV1().ConfigMaps("lab").Get(t.Context(), "of-shell", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the ConfigMap: %v", err)
	}
}

// TestResetLeavesOthers: a namespace called lab that labctl didn't make is
// refused by everything that would write to it.
func TestResetLeavesOthers(t *testing.T) {
	_, client := shared(t)
	must(t, "reset", "--name", sharedName)
	foreign := "apiVersion: v1\nkind: Namespace\nmetadata: {name: lab}\n"
	file := filepath.Join(t.TempDir(), "ns.yaml")
	write(t, file, foreign)
	must(t, "kubectl", "--name", sharedName, "apply", "-f", file)
	t.Cleanup(func() { labctl(context.Background(), "kubectl", "--name", sharedName, "delete", "namespace", "lab") })
	for _, args := range [][]string{{"reset", "--name", sharedName}, {"shell", "--name", sharedName, "--", "true"}, {"run", "l-3-containerization", "--step", "1", "--name", sharedName}} {
		if r := labctl(t.Context(), args...); r.code != 3 || !strings.Contains(r.stderr, "labctl didn't make it") {
			t.Errorf("labctl %q: exit code %d\n%s", args, r.code, r.stderr)
		}
	}
	if ns, err := client.CoreV1().Namespaces().Get(t.Context(), "lab", metav1.GetOptions{}); err != nil || ns.DeletionTimestamp != nil {
		t.Errorf("the namespace: %v, %v", ns, err)
	}
}

// twoClaims is a lab without a cluster; its second claim holds as %s says.
const twoClaims = `apiVersion: labctl.dev/v1alpha1
kind: Lab
metadata:
  name: two-claims
spec:
  document: none.md
  title: {en: Two claims, zh: 两个论断}
  layer: L-3
  needs: {nodes: 0}
  claims:
    - id: two-1
      statement: {en: X, zh: X}
      source: {heading: X, line: 1, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
      layer: L-3
      probes: &host [{as: host, kind: host, with: {labprobe: [identity]}}]
      decide: host.pid > 0
      expect: confirmed
    - id: two-2
      statement: {en: X, zh: X}
      source: {heading: X, line: 1, sha256: "0000000000000000000000000000000000000000000000000000000000000000"}
      layer: L-3
      probes: *host
      decide: host.pid %s 0
      expect: confirmed
`

// TestFailedOnly verifies again what failed, and nothing else.
func TestFailedOnly(t *testing.T) {
	dir := t.TempDir()
	spec := filepath.Join(dir, "labs", "two-claims", "lab.yaml")
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	again := func(args ...string) run {
		return labctl(t.Context(), append([]string{"verify", "--catalogue", dir, "-o", "json"}, args...)...)
	}
	ids := func(r run) (ids []string) {
		got, err := result.Read([]byte(r.stdout))
		if err != nil {
			t.Fatalf("exit code %d: %v\n%s", r.code, err, r.stderr)
		}
		for _, l := range got.Labs {
			for _, c := range l.Claims {
				ids = append(ids, c.ID)
			}
		}
		return ids
	}
	write(t, spec, fmt.Sprintf(twoClaims, "<"))
	if r := again("--failed-only"); r.code != 2 || !strings.Contains(r.stderr, "no run of this cluster is known") {
		t.Errorf("before the first run: exit code %d\n%s", r.code, r.stderr)
	}
	if r := again("--lab", "two-claims"); r.code != 1 || !slices.Equal(ids(r), []string{"two-1", "two-2"}) {
		t.Errorf("all claims: exit code %d\n%s", r.code, r.stderr)
	}
	if r := again("--failed-only"); r.code != 1 || !slices.Equal(ids(r), []string{"two-2"}) {
		t.Errorf("the claim that failed: exit code %d\n%s", r.code, r.stdout)
	}
	write(t, spec, fmt.Sprintf(twoClaims, ">"))
	if r := again("--failed-only"); r.code != 0 || !slices.Equal(ids(r), []string{"two-2"}) {
		t.Errorf("mended: exit code %d\n%s", r.code, r.stdout)
	}
	if r := again("--failed-only"); r.code != 0 || r.stdout != "" || !strings.Contains(r.stderr, "nothing differed or broke") {
		t.Errorf("nothing left: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}
