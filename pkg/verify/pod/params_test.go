package pod

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// cluster is a cluster of one node with two of the three runtimes.
type cluster struct{ place probe.Place }

func (cluster) RESTConfig() *rest.Config   { return &rest.Config{Host: "http://127.0.0.1:1"} }
func (cluster) Nodes() []string            { return []string{"one"} }
func (c cluster) Node(string) probe.Place  { return c.place }
func (cluster) ProbeImage(r string) string { return "image-" + r }
func (cluster) RuntimeClass(r string) (string, bool) {
	return "class-" + r, r != WasmEdge
}

func TestNew(t *testing.T) {
	for _, c := range []struct{ name, params, err string }{
		{"least", `{"runtime":"runc","labprobe":["hello"]}`, ""},
		{"fields of the API", `{"runtime":"gvisor","labprobe":["hello"],
			"resources":{"limits":{"memory":"64Mi","cpu":"200m"}},
			"securityContext":{"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}},
			"podSecurityContext":{"runAsUser":1000},"hostPID":true,"env":[{"name":"A","value":"b"}],
			"volumes":[{"name":"v","emptyDir":{}}],"volumeMounts":[{"name":"v","mountPath":"/v"}],
			"sidecar":["sleep","1h"],"repeat":5,"warmup":1,"timeout":"30s"}`, ""},
		{"nothing", ``, `runtime: ""`},
		{"unknown runtime", `{"runtime":"kata","labprobe":["hello"]}`, `"kata"`},
		{"no command", `{"runtime":"runc"}`, "labprobe: is empty"},
		{"unknown command", `{"runtime":"runc","labprobe":["nope"]}`, `unknown labprobe command "nope"`},
		{"bad arguments", `{"runtime":"runc","labprobe":["exit","x"]}`, `labprobe: exit: `},
		{"unknown sidecar", `{"runtime":"runc","labprobe":["hello"],"sidecar":["nope"]}`, "sidecar: "},
		{"unknown field", `{"runtime":"runc","labprobe":["hello"],"memory":"1Gi"}`, `"memory"`},
		{"unknown field of the API", `{"runtime":"runc","labprobe":["hello"],"securityContext":{"privilegd":true}}`, `"securityContext.privilegd"`},
		{"wrong type in the API", `{"runtime":"runc","labprobe":["hello"],"hostPID":"yes"}`, "hostPID"},
		{"bad quantity", `{"runtime":"runc","labprobe":["hello"],"resources":{"limits":{"memory":"lots"}}}`, "quantities must match"},
		{"unknown image", `{"runtime":"runc","labprobe":["hello"],"image":"nginx"}`, `"nginx"`},
		{"observed without report", `{"runtime":"runc","labprobe":["hello"],"observe":true,"report":false}`, "observe:"},
		{"too often", `{"runtime":"runc","labprobe":["hello"],"repeat":100000}`, "repeat:"},
		{"before the start", `{"runtime":"runc","labprobe":["hello"],"warmup":-1}`, "warmup:"},
		{"no time", `{"runtime":"runc","labprobe":["hello"],"timeout":"1ms"}`, "timeout:"},
		{"label of labctl's", `{"runtime":"runc","labprobe":["hello"],"labels":{"app.kubernetes.io/managed-by":"me"}}`, "managed-by"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Kind.New([]byte(c.params))
			wantError(t, c.err, err)
		})
	}
}

func TestOutputs(t *testing.T) {
	for _, c := range []struct {
		name, params string
		has, hasNot  []string
		exclusive    bool
	}{
		{"with report", `{"runtime":"runc","labprobe":["hello"]}`,
			[]string{"hello", "pod.phase", "pod.exit_code", "pod.start", "pod.run", "pod.deleted"},
			[]string{"pod.start.p50", "pod.ready", "node.shim"}, false},
		{"without report", `{"runtime":"runc","labprobe":["hello"],"report":false}`,
			[]string{"pod.phase", "pod.exit_code"}, []string{"hello", "node.shim"}, false},
		{"observed", `{"runtime":"runc","labprobe":["hello"],"observe":true}`,
			[]string{"hello", "pod.ready", "node.shim", "node.rss"}, []string{"pod.exit_code", "pod.run", "pod.finished"}, false},
		{"repeated", `{"runtime":"runc","labprobe":["hello"],"repeat":3}`,
			[]string{"pod.start", "pod.start.p50", "pod.start.min", "pod.start.max", "pod.deleted.p50"}, []string{"pod.ready.p50"}, true},
		{"exclusive", `{"runtime":"runc","labprobe":["hello"],"exclusive":true}`, nil, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustNew(t, c.params)
			var names []string
			for _, o := range p.Outputs() {
				if o.Doc == "" || o.Type == "" {
					t.Errorf("%s has no type or doc", o.Name)
				}
				if slices.Contains(names, o.Name) {
					t.Errorf("%s twice", o.Name)
				}
				names = append(names, o.Name)
			}
			for _, n := range c.has {
				if !slices.Contains(names, n) {
					t.Errorf("no %s in %v", n, names)
				}
			}
			for _, n := range c.hasNot {
				if slices.Contains(names, n) {
					t.Errorf("%s is declared", n)
				}
			}
			if p.Exclusive() != c.exclusive {
				t.Errorf("exclusive %v", p.Exclusive())
			}
		})
	}
}

func TestObject(t *testing.T) {
	for _, c := range []struct {
		name, params, image, variant string
		args                         []string
		check                        func(*corev1.Pod) bool
	}{
		{name: "runc", params: `{"runtime":"runc","labprobe":["hello","you"]}`, image: "image-runc", args: []string{"hello", "you"}},
		{name: "wasmedge", params: `{"runtime":"wasmedge","labprobe":["hello"]}`, image: "image-wasmedge", variant: "compat-smart", args: []string{"hello"}},
		{name: "module under runc", params: `{"runtime":"runc","labprobe":["hello"],"image":"wasm"}`, image: "image-wasmedge", variant: "compat-smart", args: []string{"hello"}},
		{name: "native under wasmedge", params: `{"runtime":"wasmedge","labprobe":["hello"],"image":"native"}`, image: "image-runc", args: []string{"hello"}},
		{name: "observed", params: `{"runtime":"runc","labprobe":["hello"],"observe":true}`, image: "image-runc", args: []string{"-hold", "10m", "hello"}},
		{name: "fields", params: `{"runtime":"runc","labprobe":["hello"],"hostPID":true,"resources":{"limits":{"memory":"64Mi"}},
			"securityContext":{"privileged":true},"podSecurityContext":{"runAsUser":7},"annotations":{"a":"b"}}`, image: "image-runc", args: []string{"hello"},
			check: func(p *corev1.Pod) bool {
				main := p.Spec.Containers[0]
				return p.Spec.HostPID && main.Resources.Limits.Memory().Value() == 64<<20 && *main.SecurityContext.Privileged &&
					*p.Spec.SecurityContext.RunAsUser == 7 && p.Annotations["a"] == "b"
			}},
		{name: "sidecar", params: `{"runtime":"gvisor","labprobe":["hello"],"sidecar":["sleep","1h"]}`, image: "image-runc", args: []string{"hello"},
			check: func(p *corev1.Pod) bool {
				return len(p.Spec.InitContainers) == 1 && *p.Spec.InitContainers[0].RestartPolicy == corev1.ContainerRestartPolicyAlways &&
					slices.Equal(p.Spec.InitContainers[0].Args, []string{"sleep", "1h"})
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := mustNew(t, c.params).object(cluster{}, "lab", "some-class")
			main := pod.Spec.Containers[0]
			switch {
			case pod.Namespace != "lab", *pod.Spec.RuntimeClassName != "some-class", pod.Labels[managedBy] != "labctl",
				pod.Spec.RestartPolicy != corev1.RestartPolicyNever, main.ImagePullPolicy != corev1.PullIfNotPresent:
				t.Errorf("%+v", pod)
			case main.Image != c.image, !slices.Equal(main.Args, c.args), pod.Annotations[wasmVariant] != c.variant:
				t.Errorf("image %s, args %q, annotations %v", main.Image, main.Args, pod.Annotations)
			case c.check != nil && !c.check(pod):
				b, _ := json.Marshal(pod)
				t.Errorf("%s", b)
			}
		})
	}
}

func TestUntestable(t *testing.T) {
	for _, c := range []struct {
		name string
		env  probe.Environment
		err  string
	}{
		{"no cluster", probe.Environment{}, "untestable here: there is no cluster"},
		{"no class", probe.Environment{Cluster: cluster{}, Namespace: "lab"}, "untestable here: the cluster has no RuntimeClass for wasmedge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := mustNew(t, `{"runtime":"wasmedge","labprobe":["hello"]}`).Run(t.Context(), c.env)
			wantError(t, c.err, err)
		})
	}
}

func mustNew(t *testing.T, params string) *Probe {
	t.Helper()
	p, err := New([]byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantError(t *testing.T, want string, err error) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Error(err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one that contains %q", err, want)
	}
}

func wantValues(t *testing.T, set evidence.Set, want map[string]any) {
	t.Helper()
	for name, w := range want {
		v, ok := set.Get(name)
		switch {
		case !ok:
			t.Errorf("no %s", name)
		case v.Type == evidence.List:
			if !slices.Equal(v.Value.([]string), w.([]string)) {
				t.Errorf("%s is %q, want %q", name, v.Value, w)
			}
		case v.Value != w:
			t.Errorf("%s is %v, want %v", name, v.Value, w)
		}
	}
}

const ms = time.Millisecond
