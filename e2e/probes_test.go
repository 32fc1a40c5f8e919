//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/pod"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// probing is a namespace of its own on the shared cluster, for probes.
func probing(t *testing.T) (probe.Environment, kubernetes.Interface) {
	t.Helper()
	_, client := shared(t)
	labs, err := lifecycle.New(lifecycle.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := labs.Get(t.Context(), sharedName)
	if err != nil {
		t.Fatal(err)
	}
	return inNamespace(t, client, cluster), client
}

func inNamespace(t *testing.T, client kubernetes.Interface, cluster probe.Cluster) probe.Environment {
	t.Helper()
	ns, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "probes-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), ns.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return probe.Environment{Cluster: cluster, Namespace: ns.Name}
}

// measure runs one probe; its evidence must be what it declares.
func measure(t *testing.T, env probe.Environment, kind probe.Kind, params string) (evidence.Set, error) {
	t.Helper()
	p, err := kind.New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	set, err := p.Run(ctx, env)
	for _, v := range set {
		if !slices.ContainsFunc(p.Outputs(), func(o evidence.Output) bool { return o.Name == v.Name && o.Type == v.Type }) {
			t.Errorf("%s is not declared", v.Name)
		}
		if v.Source.Where == "" || v.Source.Ref == "" {
			t.Errorf("%s has source %+v", v.Name, v.Source)
		}
	}
	return set, err
}

func mustMeasure(t *testing.T, env probe.Environment, kind probe.Kind, params string) evidence.Set {
	t.Helper()
	set, err := measure(t, env, kind, params)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func get[T any](t *testing.T, set evidence.Set, name string) T {
	t.Helper()
	v, ok := set.Get(name)
	if !ok {
		t.Fatalf("no evidence %s", name)
	}
	x, ok := v.Value.(T)
	if !ok {
		t.Fatalf("%s is %v (%T)", name, v.Value, v.Value)
	}
	return x
}

// texts writes evidence for people.
func texts(set evidence.Set) string {
	var b strings.Builder
	for _, v := range set {
		b.WriteString("\n  " + v.Name + " = " + v.Text())
	}
	return b.String()
}

// class makes a RuntimeClass with another handler than its name says.
func class(t *testing.T, client kubernetes.Interface, handler string) string {
	t.Helper()
	c, err := client.NodeV1().RuntimeClasses().Create(t.Context(), &nodev1.RuntimeClass{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "e2e-"}, Handler: handler,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.NodeV1().RuntimeClasses().Delete(context.Background(), c.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return c.Name
}

// TestPodIdentity: the same program tells the node's kernel under runc and
// another under gVisor; a class that only says that it is gVisor is seen
// through.
func TestPodIdentity(t *testing.T) {
	env, client := probing(t)
	onNode := mustMeasure(t, env, node.Kind, `{"labprobe":["identity"]}`)
	release, version, boot := get[string](t, onNode, "kernel.release"), get[string](t, onNode, "kernel.proc_version"), get[string](t, onNode, "kernel.boot_id")
	fake := class(t, client, "runc")
	for _, c := range []struct {
		name, params string
		own          bool // a kernel of its own
	}{
		{"runc", `{"runtime":"runc","labprobe":["identity"]}`, false},
		{"gvisor", `{"runtime":"gvisor","labprobe":["identity"]}`, true},
		{"gvisor that is plain runc", `{"runtime":"gvisor","labprobe":["identity"],"class":"` + fake + `"}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := mustMeasure(t, env, pod.Kind, c.params)
			if own := get[string](t, set, "kernel.release") != release; own != c.own {
				t.Errorf("release %s, the node's %s", get[string](t, set, "kernel.release"), release)
			}
			if own := get[string](t, set, "kernel.proc_version") != version; own != c.own {
				t.Errorf("version %s, the node's %s", get[string](t, set, "kernel.proc_version"), version)
			}
			if v, ok := set.Get("kernel.boot_id"); ok && (v.Value != boot) != c.own {
				t.Errorf("boot id %s, the node's %s", v.Value, boot)
			}
			if gvisor := strings.Contains(get[string](t, set, "dmesg.text"), "gVisor"); gvisor != c.own {
				t.Errorf("kernel log %q", get[string](t, set, "dmesg.text"))
			}
			if get[string](t, set, "pod.phase") != "Succeeded" || get[string](t, set, "pod.reason") != "Completed" || get[int64](t, set, "pod.exit_code") != 0 {
				t.Error(texts(set))
			}
			for _, name := range []string{"pod.start", "pod.runtime_start", "pod.container_start", "pod.finished", "pod.deleted"} {
				if d := get[time.Duration](t, set, name); d <= 0 {
					t.Errorf("%s is %v", name, d)
				}
			}
		})
	}
	nothingLeft(t, env, client)
}

// TestPodObserved: the node shows by which shim and process each runtime
// serves its Pod.
func TestPodObserved(t *testing.T) {
	env, client := probing(t)
	for _, c := range []struct {
		name, params, shim, comm string // comm "": not fixed
		gofer, visible           bool
	}{
		{"runc", `{"runtime":"runc","labprobe":["hello"],"observe":true}`, "containerd-shim-runc-v2", "labprobe", false, true},
		{"gvisor", `{"runtime":"gvisor","labprobe":["hello"],"observe":true}`, "containerd-shim-runsc-v1", "", true, false},
		{"wasmedge", `{"runtime":"wasmedge","labprobe":["hello"],"observe":true}`, "containerd-shim-runc-v2", "wasmedge", false, false},
		{"gvisor that is plain runc", `{"runtime":"gvisor","labprobe":["hello"],"observe":true,"class":"` + class(t, client, "runc") + `"}`, "containerd-shim-runc-v2", "labprobe", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := mustMeasure(t, env, pod.Kind, c.params)
			if got := get[string](t, set, "node.shim"); got != c.shim {
				t.Errorf("shim %s, want %s", got, c.shim)
			}
			if got := get[string](t, set, "node.process.comm"); c.comm != "" && got != c.comm {
				t.Errorf("comm %s, want %s", got, c.comm)
			}
			if get[bool](t, set, "node.gofer") != c.gofer || get[bool](t, set, "node.app_visible") != c.visible {
				t.Error(texts(set))
			}
			if get[string](t, set, "pod.phase") != "Running" || get[time.Duration](t, set, "pod.ready") <= 0 || get[string](t, set, "node.rss") == "0" {
				t.Error(texts(set))
			}
			t.Log(texts(set))
		})
	}
	nothingLeft(t, env, client)
}

// TestPodFate: where the Pod's failure is the evidence, each case stands
// beside the one that turns it.
func TestPodFate(t *testing.T) {
	env, client := probing(t)
	memory := `"labprobe":["memory","--child-first","--wait","1s","--bytes","134217728"],"report":false`
	for _, c := range []struct {
		name, params  string
		phase, reason string
		exit          int64 // -1: any but 0, or none
	}{
		{"memory within no limit", `{"runtime":"runc",` + memory + `}`, "Succeeded", "Completed", 0},
		{"memory over its limit", `{"runtime":"runc",` + memory + `,"resources":{"limits":{"memory":"64Mi"}}}`, "Failed", "OOMKilled", 137},
		{"module under wasmedge", `{"runtime":"wasmedge","labprobe":["hello"],"report":false}`, "Succeeded", "Completed", 0},
		{"module under runc", `{"runtime":"runc","labprobe":["hello"],"image":"wasm","report":false}`, "Failed", "", -1},
		{"module under gvisor", `{"runtime":"gvisor","labprobe":["hello"],"image":"wasm","report":false}`, "Failed", "", -1},
		{"module, wasmedge class that is plain runc", `{"runtime":"wasmedge","labprobe":["hello"],"report":false,"class":"` + class(t, client, "runc") + `"}`, "Failed", "", -1},
		{"exit code", `{"runtime":"runc","labprobe":["exit","7"],"report":false}`, "Failed", "Error", 7},
		{"exit code under gvisor", `{"runtime":"gvisor","labprobe":["exit","7"],"report":false}`, "Failed", "Error", 7},
		// runtimes.Limits: crun loses a module's exit code.
		{"exit code under wasmedge", `{"runtime":"wasmedge","labprobe":["exit","7"],"report":false}`, "Succeeded", "Completed", 0},
		{"no such handler", `{"runtime":"runc","labprobe":["hello"],"report":false,"class":"` + class(t, client, "no-such-handler") + `"}`, "Pending", "FailedCreatePodSandBox", -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := mustMeasure(t, env, pod.Kind, c.params)
			phase, reason := get[string](t, set, "pod.phase"), get[string](t, set, "pod.reason")
			exit := int64(-1)
			if v, ok := set.Get("pod.exit_code"); ok {
				exit = v.Value.(int64)
			}
			if phase != c.phase || c.reason != "" && reason != c.reason || c.exit >= 0 && exit != c.exit || c.exit < 0 && exit == 0 {
				t.Errorf("phase %s, reason %s, exit code %d: %s", phase, reason, exit, get[string](t, set, "pod.message"))
			}
			t.Log(texts(set))
		})
	}
	nothingLeft(t, env, client)
}

// TestPodErrors: what breaks a probe is an error that says why, and never
// evidence.
func TestPodErrors(t *testing.T) {
	env, client := probing(t)
	for _, c := range []struct{ name, params, err string }{
		{"report wanted, process fails", `{"runtime":"runc","labprobe":["hello"],"image":"wasm"}`, "phase Failed"},
		{"no such class", `{"runtime":"runc","labprobe":["hello"],"report":false,"class":"no-such-class"}`, `"no-such-class" not found`},
		{"no room", `{"runtime":"runc","labprobe":["hello"],"report":false,"timeout":"5s","resources":{"requests":{"memory":"100Ti"}}}`, "Insufficient memory"},
		{"refused by the API", `{"runtime":"runc","labprobe":["hello"],"resources":{"requests":{"memory":"2Gi"},"limits":{"memory":"1Gi"}}}`, "must be less than or equal to memory limit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := measure(t, env, pod.Kind, c.params)
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one that contains %q", err, c.err)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		p, err := pod.Kind.New([]byte(`{"runtime":"runc","labprobe":["sleep","1h"]}`))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, context.Canceled)
		defer cancel()
		if _, err = p.Run(ctx, env); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	nothingLeft(t, env, client)
}

// TestPodTimes: several Pods one after another give a median that lies
// between the least and the most.
func TestPodTimes(t *testing.T) {
	env, client := probing(t)
	for _, runtime := range []string{"runc", "gvisor", "wasmedge"} {
		t.Run(runtime, func(t *testing.T) {
			set := mustMeasure(t, env, pod.Kind, `{"runtime":"`+runtime+`","labprobe":["hello"],"repeat":3,"warmup":1}`)
			for _, name := range []string{"pod.start", "pod.runtime_start", "pod.container_start"} {
				least, median, most := get[time.Duration](t, set, name+".min"), get[time.Duration](t, set, name+".p50"), get[time.Duration](t, set, name+".max")
				if least <= 0 || median < least || most < median {
					t.Errorf("%s: %v, %v, %v", name, least, median, most)
				}
				t.Logf("%s: %v %v %v", name, least, median, most)
			}
		})
	}
	nothingLeft(t, env, client)
}

// TestNodeScript: a script on the node with containers of its own.
func TestNodeScript(t *testing.T) {
	env, _ := probing(t)
	script := `
mkdir -p bundle/rootfs && cp "$LABPROBE" bundle/rootfs/labprobe
cd bundle
runc --root "$WORK/state" spec
sed -i 's#"sh"#"/labprobe","-hold","1m","hello"#; s#"terminal": true#"terminal": false#' config.json
id=labctl-e2e-$$
trap 'runc --root "$WORK/state" delete --force $id' EXIT
runc --root "$WORK/state" create $id </dev/null >"$WORK/out" 2>&1
evidence created "$(runc --root "$WORK/state" state $id | sed -n 's/.*"status": "\(.*\)".*/\1/p')"
runc --root "$WORK/state" start $id
evidence started "$(runc --root "$WORK/state" state $id | sed -n 's/.*"status": "\(.*\)".*/\1/p')"
evidence module "$(head -c4 "$LABPROBE_WASM" | od -An -c | tr -d ' ')"
evidence images "$(ctr -n k8s.io images ls -q | grep -cxF -e "$LABPROBE_IMAGE" -e "$LABPROBE_WASM_IMAGE")"
`
	params, err := json.Marshal(node.Params{Script: script, Outputs: []node.Output{
		{Name: "created", Type: evidence.String}, {Name: "started", Type: evidence.String},
		{Name: "module", Type: evidence.String}, {Name: "images", Type: evidence.Int},
	}})
	if err != nil {
		t.Fatal(err)
	}
	set := mustMeasure(t, env, node.Kind, string(params))
	if get[string](t, set, "created") != "created" || get[string](t, set, "started") != "running" ||
		get[string](t, set, "module") != `\0asm` || get[int64](t, set, "images") != 2 {
		t.Error(texts(set))
	}
	left := mustMeasure(t, env, node.Kind, `{"command":["sh","-c","ls -d /var/tmp/labctl.*"]}`)
	if get[int64](t, left, "exit") == 0 {
		t.Errorf("left on the node: %s", get[string](t, left, "stdout"))
	}
}

// TestPodPair: two Pods over the Pod network. The node's kernel has the
// sockets of a server under runc and none of one under gVisor, whose network
// stack is its own; a gVisor class that is plain runc is seen through.
func TestPodPair(t *testing.T) {
	env, client := probing(t)
	load := `"n":200,"rounds":3,"bytes":16777216`
	for _, c := range []struct {
		name, params string
		inKernel     bool
	}{
		{"runc", `{"server":"runc","client":"runc",` + load + `}`, true},
		{"gvisor", `{"server":"gvisor","client":"runc",` + load + `}`, false},
		{"gvisor both", `{"server":"gvisor","client":"gvisor",` + load + `}`, false},
		{"gvisor that is plain runc", `{"server":"gvisor","client":"runc","serverClass":"` + class(t, client, "runc") + `",` + load + `}`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := mustMeasure(t, env, pod.PairKind, c.params)
			if n := get[int64](t, set, "sockets"); (n > 0) != c.inKernel {
				t.Errorf("%d sockets", n)
			}
			if get[time.Duration](t, set, "rr.p50") <= 0 || get[float64](t, set, "throughput") <= 0 {
				t.Error(texts(set))
			}
			t.Log(texts(set))
		})
	}
	nothingLeft(t, env, client)
}

// nothingLeft: probes delete their Pods.
func nothingLeft(t *testing.T, env probe.Environment, client kubernetes.Interface) {
	t.Helper()
	for range 50 {
		list, err := client.CoreV1().Pods(env.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 0 {
			return
		}
		if !slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil }) {
			// Those that an error left are being deleted.
			time.Sleep(200 * time.Millisecond)
			continue
		}
		t.Errorf("%d Pods left", len(list.Items))
		return
	}
	t.Error("Pods don't go away")
}
