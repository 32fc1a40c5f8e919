package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/probeimage"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

const (
	machineID = "9f1c2b3a4d5e6f708192a3b4c5d6e7f8"
	bootID    = "0b9fd8a7-6f0c-4d27-9b5e-3d6a2c0d6f11"
)

const twoContexts = `apiVersion: v1
kind: Config
current-context: edge
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts:
- {name: edge, context: {cluster: c, user: u}}
- {name: other, context: {cluster: c, user: u}}
`

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// box is a machine with a containerd that holds a kubelet's containers.
func box(t *testing.T) machine.Machine {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/machine-id"), machineID+"\n")
	write(t, filepath.Join(root, "proc/sys/kernel/random/boot_id"), bootID+"\n")
	daemon(t, root, 17, "containerd\x00", "/usr/bin/containerd")
	write(t, filepath.Join(root, "var/lib/containerd/io.containerd.grpc.v1.cri/containers/abc/status"), "")
	return machine.Machine{Root: root}
}

func daemon(t *testing.T, root string, pid int, cmdline, exe string) {
	t.Helper()
	dir := filepath.Join(root, "proc", fmt.Sprint(pid))
	write(t, filepath.Join(dir, "cmdline"), cmdline)
	if err := os.Symlink(exe, filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
}

func kubeNode(name, machine, boot string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{
		MachineID: machine, BootID: boot, OperatingSystem: "linux", Architecture: runtime.GOARCH, ContainerRuntimeVersion: "containerd://2.4.2",
	}}}
}

func class(name, handler string, labels map[string]string) *nodev1.RuntimeClass {
	return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, UID: types.UID("uid-" + name)}, Handler: handler}
}

var labctls = map[string]string{managedByLabel: managedBy}

func system(uid string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: types.UID(uid)}}
}

// provider uses a cluster that is client-go's fake.
func provider(t *testing.T, o Options, client kubernetes.Interface) *Provider {
	t.Helper()
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	if o.Path == "" {
		o.Path = write(t, filepath.Join(t.TempDir(), "config"), twoContexts)
	}
	if o.Machine.Root == "" {
		o.Machine = box(t)
	}
	o.ProbeImages = map[string]string{"runc": "localhost/labctl/labprobe:1", "gvisor": "localhost/labctl/labprobe:1", "wasmedge": "localhost/labctl/labprobe-wasm:2"}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	p.dial = func(*rest.Config) (kubernetes.Interface, error) { return client, nil }
	return p
}

func TestPlan(t *testing.T) {
	foreign := kubeNode("a", machineID, bootID)
	foreign.Status.NodeInfo.Architecture = "riscv64"
	crio := kubeNode("a", machineID, bootID)
	crio.Status.NodeInfo.ContainerRuntimeVersion = "cri-o://1.34.0"
	windows := kubeNode("w", "x", "y")
	windows.Status.NodeInfo.OperatingSystem = "windows"
	for _, c := range []struct {
		name     string
		registry string
		nodes    []*corev1.Node
		classes  []*nodev1.RuntimeClass
		actions  string   // of the classes and the images
		say      []string // in the text
		refuse   string   // in the error; "" if up goes on
	}{
		{name: "bare", nodes: []*corev1.Node{kubeNode("a", machineID, bootID)}, actions: "create create create load load", say: []string{"create RuntimeClass gvisor", "a (" + runtime.GOARCH + ", containerd://2.4.2): this machine"}},
		{name: "all there", nodes: []*corev1.Node{kubeNode("a", machineID, bootID), windows},
			classes: []*nodev1.RuntimeClass{class("runc", "runc", nil), class("gvisor", "gvisor", labctls), class("wasmedge", "wasmedge", nil)},
			actions: "use update use load load", say: []string{"use    RuntimeClass wasmedge: handler wasmedge, not made by labctl; the proof tells whether it is wasmedge"}},
		{name: "another handler", nodes: []*corev1.Node{kubeNode("a", machineID, bootID)}, classes: []*nodev1.RuntimeClass{class("gvisor", "runsc", nil)},
			actions: "create use create load load", say: []string{"use    RuntimeClass gvisor: handler runsc, not made by labctl; the proof tells"}},
		{name: "labctl's with another handler", nodes: []*corev1.Node{kubeNode("a", machineID, bootID)}, classes: []*nodev1.RuntimeClass{class("gvisor", "runsc", labctls)},
			actions: "create refuse create load load", refuse: "it has the handler runsc"},
		{name: "a node in a container of this machine", nodes: []*corev1.Node{kubeNode("a", "another", bootID)},
			actions: "create create create refuse refuse", refuse: "--registry HOST/PATH", say: []string{"another machine: its machine id is another one"}},
		{name: "a clone of this machine", nodes: []*corev1.Node{kubeNode("a", machineID, "another")},
			actions: "create create create refuse refuse", refuse: "can't be loaded into a", say: []string{"its boot id is another one"}},
		{name: "a clone, with a registry", registry: "127.0.0.1:5000/labs", nodes: []*corev1.Node{kubeNode("a", machineID, "another")},
			actions: "create create create push push", say: []string{"push   127.0.0.1:5000/labs/labprobe:1"}},
		{name: "one node of two is away", nodes: []*corev1.Node{kubeNode("a", machineID, bootID), kubeNode("b", "x", "y")},
			actions: "create create create refuse refuse", refuse: "can't be loaded into b"},
		{name: "another architecture", nodes: []*corev1.Node{foreign}, actions: "create create create load load", refuse: "node a: it is riscv64"},
		{name: "another container runtime", nodes: []*corev1.Node{crio}, actions: "create create create load load", refuse: "cri-o"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset(system("u"))
			for _, n := range c.nodes {
				_ = client.Tracker().Add(n)
			}
			for _, class := range c.classes {
				_ = client.Tracker().Add(class)
			}
			p := provider(t, Options{Registry: c.registry}, client)
			plan, err := p.Plan(t.Context(), provision.ClusterSpec{Name: "x"})
			if err != nil {
				t.Fatal(err)
			}
			var actions []string
			for _, o := range plan.Objects {
				actions = append(actions, string(o.Action))
			}
			for _, i := range plan.Images {
				actions = append(actions, string(i.Action))
			}
			if got := strings.Join(actions, " "); got != c.actions {
				t.Errorf("actions %s, want %s", got, c.actions)
			}
			for _, s := range append(c.say, "Cluster of context edge, https://127.0.0.1:1") {
				if !strings.Contains(plan.String(), s) {
					t.Errorf("no %q in\n%s", s, plan)
				}
			}
			_, err = p.Up(t.Context(), provision.ClusterSpec{Name: "x"}, progress.Discard)
			if (err == nil) != (c.refuse == "") || err != nil && !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("up: %v, want %q", err, c.refuse)
			}
			// Neither the plan nor a refusal leaves anything; what up will make
			// is on disk before.
			r, err := p.recall("x")
			if err != nil {
				t.Fatal(err)
			}
			if c.refuse != "" && r.Context != "" {
				t.Errorf("refused, and remembered: %+v", r)
			}
			if want := strings.Count(c.actions, "create"); c.refuse == "" && len(r.Made) != want {
				t.Errorf("made %v, want %d", r.Made, want)
			}
		})
	}
}

// What isn't labctl's stays as it is; what is missing is made.
func TestApply(t *testing.T) {
	client := fake.NewClientset(class("gvisor", "runsc", nil), class("wasmedge", "wasmedge", labctls))
	if err := Apply(t.Context(), client, map[string]string{"runc": "kc-runc", "gvisor": "gvisor", "wasmedge": "wasmedge"}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	list, err := client.NodeV1().RuntimeClasses().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Items {
		got[c.Name] = c.Handler + " " + c.Labels[provision.RuntimeLabel]
	}
	if want := map[string]string{"kc-runc": "runc runc", "gvisor": "runsc ", "wasmedge": "wasmedge wasmedge"}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestGetRemembersWhatUpWasGiven(t *testing.T) {
	client := fake.NewClientset(system("u"), kubeNode("a", "x", "y"))
	state, path := t.TempDir(), write(t, filepath.Join(t.TempDir(), "config"), twoContexts)
	o := Options{StateDir: state, Path: path, Context: "other", Registry: "127.0.0.1:5000/labs"}
	p := provider(t, o, client)
	if _, err := p.Get(t.Context(), "x"); !errors.Is(err, provision.ErrNotFound) {
		t.Fatalf("before up: %v", err)
	}
	spec := provision.ClusterSpec{Name: "x", RuntimeClasses: map[string]string{"runc": "runc", "gvisor": "sandboxed"}}
	if _, err := p.Up(t.Context(), spec, progress.Discard); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	bare, err := New(Options{StateDir: state, Machine: box(t), ProbeImages: p.o.ProbeImages})
	if err != nil {
		t.Fatal(err)
	}
	bare.dial = p.dial
	c, err := bare.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if c.KubeContext() != "other" || c.ProbeImage("runc") != "127.0.0.1:5000/labs/labprobe:1" || !maps.Equal(c.RuntimeClasses(), spec.RuntimeClasses) {
		t.Errorf("%s, %s, %v", c.KubeContext(), c.ProbeImage("runc"), c.RuntimeClasses())
	}
	if name, ok := c.RuntimeClass("gvisor"); name != "sandboxed" || !ok {
		t.Errorf("class %s, %v", name, ok)
	}
	// A node that is another machine is untestable, not broken.
	var untestable *evidence.Untestable
	if _, err := c.Node("a").Run(t.Context(), nil, "true"); !errors.As(err, &untestable) {
		t.Errorf("run on a node that is away: %v", err)
	}
	if _, err := c.ContainerdConfig(t.Context(), "a"); !errors.As(err, &untestable) {
		t.Errorf("its containerd: %v", err)
	}
	if _, err := c.Node("b").Run(t.Context(), nil, "true"); err == nil {
		t.Error("a node that isn't there runs commands")
	}
	// The context leads to another cluster now.
	bare.dial = func(*rest.Config) (kubernetes.Interface, error) {
		return fake.NewClientset(system("v"), kubeNode("a", "x", "y")), nil
	}
	for what, err := range map[string]error{
		"get":  func() error { _, err := bare.Get(t.Context(), "x"); return err }(),
		"up":   func() error { _, err := bare.Up(t.Context(), spec, progress.Discard); return err }(),
		"down": bare.Down(t.Context(), "x", progress.Discard),
	} {
		if err == nil || !strings.Contains(err.Error(), "leads to another cluster") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDownTakesWhatUpMade(t *testing.T) {
	held := func(name string, until time.Duration, labels map[string]string) *corev1.Namespace {
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: labels, Annotations: map[string]string{
			apply.HeldUntil: time.Now().Add(until).Format(time.RFC3339)}}}
	}
	pod := func(name string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: labels}}
	}
	client := fake.NewClientset(system("u"), kubeNode("a", machineID, bootID),
		class("runc", "runc", nil), class("sandboxed", "gvisor", labctls),
		held("labctl", -time.Minute, labctls), held("labctl-busy", time.Minute, labctls), held("theirs", -time.Minute, nil),
		pod("labctl-proof-1", labctls), pod("theirs", nil))
	p := provider(t, Options{}, client)
	ctx := t.Context()
	if err := p.Down(ctx, "x", progress.Discard); err != nil {
		t.Fatalf("down of nothing: %v", err)
	}
	if left := names(t, client); len(left) != 8 {
		t.Fatalf("down of nothing left only %v", left)
	}
	if _, err := p.Up(ctx, provision.ClusterSpec{Name: "x"}, progress.Discard); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"gvisor", "wasmedge"} { // the caller's part
		if err := client.Tracker().Add(class(made, made, labctls)); err != nil {
			t.Fatal(err)
		}
	}
	// A second up finds labctl's own classes and still knows that they are.
	if _, err := p.Up(ctx, provision.ClusterSpec{Name: "x"}, progress.Discard); err != nil {
		t.Fatal(err)
	}
	if err := p.Down(ctx, "x", progress.Discard); err != nil {
		t.Fatal(err)
	}
	// sandboxed is labctl's by its label, but another labctl's.
	if got := names(t, client); !slices.Equal(got, []string{"default/theirs", "kube-system", "labctl-busy", "runc", "sandboxed", "theirs"}) {
		t.Errorf("left: %v", got)
	}
	if r, err := p.recall("x"); err != nil || r.Context != "" {
		t.Errorf("still remembered: %+v, %v", r, err)
	}
	if err := p.Down(ctx, "x", progress.Discard); err != nil {
		t.Errorf("down again: %v", err)
	}
	// Without a record, a class with labctl's label may be another provider's,
	// as those of a kind cluster of labctl's are: it stays.
	p.o.Context = "other"
	if err := p.Down(ctx, "x", progress.Discard); err != nil {
		t.Fatal(err)
	}
	if got := names(t, client); !slices.Contains(got, "sandboxed") || !slices.Contains(got, "runc") {
		t.Errorf("left: %v", got)
	}
}

// names are the objects of the fake cluster besides its nodes.
func names(t *testing.T, client kubernetes.Interface) []string {
	t.Helper()
	ctx := context.Background()
	var all []string
	classes, err := client.NodeV1().RuntimeClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range classes.Items {
		all = append(all, c.Name)
	}
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces.Items {
		all = append(all, n.Name)
	}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		all = append(all, p.Namespace+"/"+p.Name)
	}
	slices.Sort(all)
	return all
}

func TestContexts(t *testing.T) {
	client := fake.NewClientset(system("u"), kubeNode("a", machineID, bootID))
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good"), twoContexts)
	empty := write(t, filepath.Join(dir, "empty"), "apiVersion: v1\nkind: Config\n")
	none := write(t, filepath.Join(dir, "none"), strings.Replace(twoContexts, "current-context: edge\n", "", 1))
	for _, c := range []struct{ name, path, context, want string }{
		{"the current one", good, "", ""},
		{"another", good, "other", ""},
		{"misspelt", good, "othr", `has no context "othr"; --context can be edge, other`},
		{"no current one", none, "", "has no current context; --context can be edge, other"},
		{"an empty file", empty, "", "--kubeconfig"},
		{"no file", filepath.Join(dir, "gone"), "", "no such file"},
		{"no YAML", write(t, filepath.Join(dir, "bad"), "{"), "", "kubeconfig: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := provider(t, Options{Path: c.path, Context: c.context}, client).Plan(t.Context(), provision.ClusterSpec{Name: "x"})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	if _, err := provider(t, Options{}, fake.NewClientset(system("u"))).Plan(t.Context(), provision.ClusterSpec{Name: "x"}); err == nil || !strings.Contains(err.Error(), "no Linux node") {
		t.Errorf("no nodes: %v", err)
	}
	if _, err := provider(t, Options{}, fake.NewClientset()).Plan(t.Context(), provision.ClusterSpec{Name: "x"}); err == nil || !strings.Contains(err.Error(), "the API server https://127.0.0.1:1") {
		t.Errorf("no kube-system: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	p := provider(t, Options{}, fake.NewClientset())
	unlock, err := p.lock("x")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if err := p.Down(t.Context(), "x", progress.Discard); err == nil || !strings.Contains(err.Error(), "another labctl is at work on cluster x") {
		t.Errorf("%v", err)
	}
	if err := p.Down(t.Context(), "No_Name", progress.Discard); err == nil || !strings.Contains(err.Error(), "No_Name") {
		t.Errorf("%v", err)
	}
}

func TestFindContainerd(t *testing.T) {
	const cri = "io.containerd.grpc.v1.cri/containers/abc"
	for _, c := range []struct {
		name  string
		make  func(t *testing.T, root string)
		want  containerd
		error string
	}{
		{name: "none", make: func(*testing.T, string) {}, error: "no containerd runs"},
		{name: "Docker's alone", make: func(t *testing.T, root string) {
			daemon(t, root, 5, "/usr/bin/containerd\x00", "/usr/bin/containerd")
		}, error: "holds containers of a kubelet"},
		{name: "a distribution's", make: func(t *testing.T, root string) {
			daemon(t, root, 5, "/usr/bin/containerd\x00", "/usr/bin/containerd")
			write(t, filepath.Join(root, "var/lib/containerd", cri), "")
		}, want: containerd{5, "/usr/bin/containerd", "/etc/containerd/config.toml", "/run/containerd/containerd.sock", "/var/lib/containerd"}},
		{name: "K3s's beside Docker's", make: func(t *testing.T, root string) {
			daemon(t, root, 5, "/usr/bin/containerd\x00", "/usr/bin/containerd")
			daemon(t, root, 9, "containerd\x00-c\x00/k/config.toml\x00", "/data/1/bin/k3s")
			write(t, filepath.Join(root, "data/1/bin/containerd"), "")
			write(t, filepath.Join(root, "k/config.toml"), "version = 3\nroot = \"/k/root\"\n[grpc]\naddress = \"/run/k3s/containerd/containerd.sock\"\n")
			write(t, filepath.Join(root, "k/root", cri), "")
		}, want: containerd{9, "/data/1/bin/containerd", "/k/config.toml", "/run/k3s/containerd/containerd.sock", "/k/root"}},
		{name: "by its command line", make: func(t *testing.T, root string) {
			daemon(t, root, 9, "containerd\x00--config=/k.toml\x00-a\x00/s\x00--state\x00/st\x00--root=/r\x00", "/usr/bin/containerd")
			write(t, filepath.Join(root, "k.toml"), "root = \"/other\"\n")
			write(t, filepath.Join(root, "r", cri), "")
		}, want: containerd{9, "/usr/bin/containerd", "/k.toml", "/s", "/r"}},
		{name: "a subcommand is no daemon", make: func(t *testing.T, root string) {
			daemon(t, root, 9, "containerd\x00config\x00dump\x00", "/usr/bin/containerd")
			write(t, filepath.Join(root, "var/lib/containerd", cri), "")
		}, error: "no containerd runs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			write(t, filepath.Join(root, "proc/2/cmdline"), "")
			c.make(t, root)
			got, err := findContainerd(machine.Machine{Root: root})
			if got != c.want || (err == nil) != (c.error == "") || err != nil && !strings.Contains(err.Error(), c.error) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A node that is this machine runs commands with its containerd's address,
// takes images, and tells its configuration.
func TestNodeThatIsHere(t *testing.T) {
	m := box(t)
	var ran [][]string
	images := ""
	m.Exec = func(_ context.Context, c machine.Command) (probe.Exit, error) {
		argv := c.Argv
		if argv[0] == "env" {
			if !slices.Contains(argv, "CONTAINERD_ADDRESS=/run/containerd/containerd.sock") || !strings.HasSuffix(argv[1], ":/usr/bin") {
				t.Errorf("environment of %q", argv)
			}
			argv = argv[3:]
		}
		ran = append(ran, argv)
		switch line := strings.Join(argv, " "); {
		case strings.Contains(line, "images ls"):
			return probe.Exit{Stdout: []byte(images)}, nil
		case strings.Contains(line, "images import"):
			b, err := io.ReadAll(c.Stdin)
			images = string(b)
			return probe.Exit{}, err
		case strings.HasSuffix(line, "config dump"):
			return probe.Exit{Stdout: []byte("version = 3")}, nil
		}
		return probe.Exit{Code: 1, Stderr: []byte("what?")}, nil
	}
	client := fake.NewClientset(system("u"), kubeNode("a", machineID, bootID))
	p := provider(t, Options{Machine: m}, client)
	up, err := p.Up(t.Context(), provision.ClusterSpec{Name: "x"}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if has, err := up.HasImage(ctx, "localhost/labctl/labprobe:1"); has || err != nil {
		t.Errorf("before: %v, %v", has, err)
	}
	if err := up.LoadImages(ctx, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("archive")), nil }); err != nil {
		t.Error(err)
	}
	if has, err := up.HasImage(ctx, "localhost/labctl/labprobe:1"); !has || err != nil {
		t.Errorf("after: %v, %v", has, err)
	}
	if dump, err := up.ContainerdConfig(ctx, "a"); string(dump) != "version = 3" || err != nil {
		t.Errorf("%s, %v", dump, err)
	}
	if _, err := up.ContainerdConfig(ctx, "b"); err == nil || !strings.Contains(err.Error(), "no node b; it has a") {
		t.Error(err)
	}
	if exit, err := up.Node("a").Run(ctx, nil, "false"); exit.Code != 1 || err != nil || up.Node("a").Name() != "node/a" {
		t.Errorf("%+v, %v", exit, err)
	}
	want := [][]string{{"/usr/bin/containerd", "--config", "/etc/containerd/config.toml", "config", "dump"}}
	if !slices.ContainsFunc(ran, func(argv []string) bool { return slices.Equal(argv, want[0]) }) {
		t.Errorf("ran %q", ran)
	}
}

// The real env(1) gives 127 where there is no such program.
func TestProgramThatIsNotThere(t *testing.T) {
	exit, err := place{node: "a", containerd: containerd{program: "/usr/bin/containerd"}}.Run(t.Context(), nil, "labctl-no-such-program")
	if err != nil || exit.Code != 127 {
		t.Errorf("%+v, %v", exit, err)
	}
}

func TestRegistry(t *testing.T) {
	requests := 0
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	image, err := probeimage.Native([]byte("program"), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{registry: host + "/labs/x", images: map[string]string{"runc": image.Ref}}
	archive := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			_, err := image.WriteTo(w)
			w.CloseWithError(err)
		}()
		return r, nil
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	if err := c.LoadImages(t.Context(), archive); err == nil || !strings.Contains(err.Error(), "docker login") {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("DOCKER_CONFIG", filepath.Dir(write(t, filepath.Join(t.TempDir(), "config.json"), `{"auths":{"`+host+`":{"username":"me","password":"secret"}}}`)))
	if has, err := c.HasImage(t.Context(), image.Ref); has || err != nil {
		t.Errorf("before: %v, %v", has, err)
	}
	if err := c.LoadImages(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	if has, err := c.HasImage(t.Context(), image.Ref); !has || err != nil {
		t.Errorf("after: %v, %v", has, err)
	}
	// The kubelet tells images by their id: what is pulled isn't what is loaded.
	tag, err := name.NewTag(c.ProbeImage("runc"))
	if err != nil {
		t.Fatal(err)
	}
	pushed, err := remote.Image(tag, remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.Image(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := id(t, pushed), id(t, loaded); a == b {
		t.Errorf("both are %s", a)
	}
	if want := host + "/labs/x/" + strings.TrimPrefix(image.Ref, probeimage.Repository); c.ProbeImage("runc") != want {
		t.Errorf("image %s, want %s", c.ProbeImage("runc"), want)
	}
}

func id(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestRegistryIsRefused(t *testing.T) {
	for registry, want := range map[string]string{
		"registry.example/labs":    "",
		"127.0.0.1:5000/labs/x":    "",
		"localhost/labs":           "",
		"registry.example":         "give HOST/PATH",
		"labs/x":                   "give HOST/PATH",
		"registry.example/Labs":    "registry \"registry.example/Labs\"",
		"https://registry.example": "give HOST/PATH",
	} {
		_, err := New(Options{StateDir: t.TempDir(), Registry: registry})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", registry, err)
		}
	}
}
