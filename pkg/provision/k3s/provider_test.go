package k3s

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// generations are those of containerd's configuration, with the file that
// labctl writes.
var generations = map[string]struct{ base, file string }{
	"v2":        {base2, templateV2},
	"v3":        {base3, templateV3},
	"v3-dropin": {imports + base3, dropIn},
}

func spec(t *testing.T) provision.ClusterSpec {
	t.Helper()
	return provision.ClusterSpec{Name: "lab", Kubeconfig: filepath.Join(t.TempDir(), "new", "config")}
}

// logged collects what is told.
type logged struct {
	progress.Log
	lines []string
}

func newLogged() *logged { return &logged{Log: progress.Discard} }

func (l *logged) Info(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *logged) text() string { return strings.Join(l.lines, "\n") }

// archive is a docker-archive of one image.
func archive(ref string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		var b bytes.Buffer
		manifest := fmt.Sprintf(`[{"Config":"c","RepoTags":["%s"],"Layers":[]}]`, ref)
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "manifest.json", Mode: 0o644, Size: int64(len(manifest))}); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(manifest)); err != nil {
			return nil, err
		}
		return io.NopCloser(&b), w.Close()
	}
}

// use does what lifecycle does after Up, and a probe on the node.
func use(ctx context.Context, b *fakeBox, c provision.Cluster) error {
	if err := c.LoadImages(ctx, archive("lab.example/labprobe:1")); err != nil {
		return err
	}
	b.write("/opt/labctl/abc/labprobe", "labprobe", 0o755)
	// Server-side apply isn't in the fake of the API as it is in runtimes' own tests.
	for _, runtime := range []string{"runc", "gvisor"} {
		_, err := b.client.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{
			ObjectMeta: metav1.ObjectMeta{Name: runtime, Labels: map[string]string{"app.kubernetes.io/managed-by": "labctl", provision.RuntimeLabel: runtime}}, Handler: runtime,
		}, metav1.CreateOptions{})
		if err != nil && !strings.Contains(err.Error(), "already exists") {
			return err
		}
	}
	return nil
}

func TestExistingK3s(t *testing.T) {
	for name, g := range generations {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			b := newFakeBox(t, g.base).withK3s()
			b.tasks["pod"] = "42"
			before := b.snapshot()
			p, s, log := b.provider(), spec(t), newLogged()
			if _, err := p.Get(ctx, "lab"); !errors.Is(err, provision.ErrNotFound) {
				t.Errorf("before up: %v", err)
			}
			c, err := p.Up(ctx, s, log)
			if err != nil {
				t.Fatal(err)
			}
			if b.starts != 2 {
				t.Errorf("K3s was started %d times, want once and once more", b.starts)
			}
			if text := b.read(g.file); !strings.Contains(text, "runtimes.'gvisor'") || !strings.Contains(text, "runtimes.'wasmedge'") {
				t.Errorf("%s: %s", g.file, text)
			}
			if want := "RuntimeClass wasmedge is used as it is: K3s made it"; !strings.Contains(log.text(), want) {
				t.Errorf("%q isn't said in %q", want, log.text())
			}
			if err := use(ctx, b, c); err != nil {
				t.Fatal(err)
			}
			// Once more: nothing changes.
			if c, err = p.Up(ctx, s, progress.Discard); err != nil || b.starts != 2 {
				t.Errorf("the second up: %v, %d starts", err, b.starts)
			}
			if err := use(ctx, b, c); err != nil {
				t.Fatal(err)
			}
			got, err := p.Get(ctx, "lab")
			if err != nil {
				t.Fatal(err)
			}
			if classes := fmt.Sprint(got.RuntimeClasses()); classes != "map[gvisor:gvisor runc:runc wasmedge:wasmedge]" {
				t.Errorf("classes %s", classes)
			}
			if nodes := got.Nodes(); !slices.Equal(nodes, []string{"box"}) || got.KubeContext() != "k3s-lab" {
				t.Errorf("nodes %q, context %s", nodes, got.KubeContext())
			}
			if there, err := got.HasImage(ctx, "lab.example/labprobe:1"); err != nil || !there {
				t.Errorf("image: %v %v", there, err)
			}
			if text, err := os.ReadFile(s.Kubeconfig); err != nil || !strings.Contains(string(text), "k3s-lab") {
				t.Errorf("kubeconfig: %s, %v", text, err)
			}
			if err := p.Down(ctx, "lab", log); err != nil {
				t.Fatal(err)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if b.starts != 3 || !b.active {
				t.Errorf("K3s was started %d times, active %v", b.starts, b.active)
			}
			if _, err := os.Stat(filepath.Dir(s.Kubeconfig)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the kubeconfig is still there: %v", err)
			}
			if err := p.Down(ctx, "lab", log); err != nil {
				t.Errorf("the second down: %v", err)
			}
		})
	}
}

func TestFreshBox(t *testing.T) {
	for name, g := range generations {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			b := newFakeBox(t, g.base)
			b.write("/etc/rancher/k3s/registries.yaml", "mirrors: {}\n", 0o600)
			b.write("/etc/rancher/k3s/config.yaml", "disable: [local-storage]\n", 0o600)
			b.write(imagesDir+"/k3s-airgap-images-amd64.tar", "images\n", 0o644)
			before := b.snapshot()
			p, s := b.provider(b.withInstaller), spec(t)
			c, err := p.Up(ctx, s, newLogged())
			if err != nil {
				t.Fatal(err)
			}
			if err := use(ctx, b, c); err != nil {
				t.Fatal(err)
			}
			if got, want := b.read(settings), "disable+:\n- traefik\n- servicelb\n- metrics-server\n"; !strings.HasSuffix(got, want) {
				t.Errorf("%s: %q", settings, got)
			}
			if b.read(g.file) == "-" || b.starts != 2 {
				t.Errorf("%s: %s; %d starts", g.file, b.read(g.file), b.starts)
			}
			if err := p.Down(ctx, "lab", newLogged()); err != nil {
				t.Fatal(err)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestKilled kills labctl at every third program that it runs, in up and in
// down; then up and down once more leave the box as it was. The ledger's own
// test kills it at every step.
func TestKilled(t *testing.T) {
	for name, fresh := range map[string]bool{"K3s is there": false, "fresh box": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := 1; ; at += 3 {
				ctx := context.Background()
				alive, kill := context.WithCancel(ctx)
				b := newFakeBox(t, imports+base3)
				var with []func(*Options)
				if fresh {
					with = append(with, b.withInstaller)
				} else {
					b.withK3s()
				}
				before := b.snapshot()
				p, s := b.provider(with...), spec(t)
				b.calls, b.killAt, b.killed = 0, at, kill
				c, err := p.Up(alive, s, progress.Discard)
				if err == nil {
					err = use(alive, b, c)
				}
				if err == nil {
					err = p.Down(alive, "lab", progress.Discard)
				}
				kill()
				reached := b.calls >= at
				b.killAt, p.times.back = 0, time.Minute
				if reached {
					if c, err = p.Up(ctx, s, progress.Discard); err != nil {
						t.Fatalf("killed at %d, up again: %v", at, err)
					}
					if err := use(ctx, b, c); err != nil {
						t.Fatalf("killed at %d: %v", at, err)
					}
					err = p.Down(ctx, "lab", progress.Discard)
				}
				if err != nil {
					t.Fatalf("killed at %d: %v", at, err)
				}
				if after := b.snapshot(); after != before {
					t.Fatalf("killed at %d; before:\n%s\nafter:\n%s", at, before, after)
				}
				if !reached {
					if at < 20 {
						t.Errorf("only %d programs were run", at)
					}
					return
				}
			}
		})
	}
}

// TestFaults are faults after which a second up converges, and down leaves the
// box as it was.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fresh bool
		fail  string
		want  []string
		calm  bool // nothing was left changed in K3s
	}{
		"the installer fails midway":               {fresh: true, fail: "k3s-install-", want: []string{"ended with 1", "k3s-install- is broken"}},
		"the installer ends without a K3s":         {fresh: true, fail: "midway", want: []string{"k3s.service not found"}},
		"the installer fails before it starts K3s": {fresh: true, fail: "enable", want: []string{"enable failed"}},
		"apt fails":                        {fail: "apt-get", want: []string{"apt-get"}},
		"the setup fails":                  {fail: "labctl-runtime-setup", want: []string{"fit runsc to this kernel"}},
		"containerd refuses the handlers":  {fail: "gvisor", want: []string{"K3s runs as before", "no gvisor today", containerdLog}, calm: true},
		"containerd refuses, on a new K3s": {fresh: true, fail: "gvisor", want: []string{"K3s runs as before", "no gvisor today"}, calm: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			b := newFakeBox(t, base3)
			var with []func(*Options)
			if c.fresh {
				with = append(with, b.withInstaller)
			} else {
				b.withK3s()
			}
			before := b.snapshot()
			p, s := b.provider(with...), spec(t)
			b.fail = c.fail
			_, err := p.Up(ctx, s, newLogged())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q isn't in: %v", want, err)
				}
			}
			if c.calm && (!b.active || b.read(templateV3) != "-") {
				t.Errorf("K3s active %v, template %q", b.active, b.read(templateV3))
			}
			b.fail = ""
			if _, err := p.Up(ctx, s, newLogged()); err != nil {
				t.Fatalf("up again: %v", err)
			}
			if err := p.Down(ctx, "lab", newLogged()); err != nil {
				t.Fatal(err)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestUpRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(b *fakeBox)
		change  func(s *provision.ClusterSpec)
		want    string
	}{
		"K3s doesn't run": {func(b *fakeBox) { b.withK3s().active = false }, nil, "its service k3s doesn't run"},
		"the port is taken": {func(b *fakeBox) {
			b.write("/proc/net/tcp", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n", 0o444)
		}, nil, "port 6443, which the API server of K3s needs, is taken by another program"},
		"an earlier K3s's data": {func(b *fakeBox) { b.write(dataDir+"/server/db/state.db", "x", 0o600) }, nil, "server/db/state.db"},
		"workers":               {func(b *fakeBox) { b.withK3s() }, func(s *provision.ClusterSpec) { s.Workers = 2 }, "no 2 workers"},
		"no init system":        {func(b *fakeBox) { _ = os.RemoveAll(b.m.Path("/run/systemd")) }, nil, "neither systemd nor OpenRC"},
		"another name":          {func(b *fakeBox) { b.write(ledger.Path, `{"version":1,"cluster":"other","entries":[]}`, 0o600) }, nil, "--name other"},
		"a name that is none":   {nil, func(s *provision.ClusterSpec) { s.Name = "a_b" }, "cluster name"},
		"a damaged ledger":      {func(b *fakeBox) { b.write(ledger.Path, `{`, 0o600) }, nil, "can't be read"},
		"the user's RuntimeClass": {func(b *fakeBox) {
			b.withK3s()
			_, err := b.client.NodeV1().RuntimeClasses().Create(context.Background(), &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "gvisor"}, Handler: "gvisor"}, metav1.CreateOptions{})
			if err != nil {
				b.t.Fatal(err)
			}
		}, nil, "labctl didn't make it"},
		"the user's template": {func(b *fakeBox) { b.write(templateV3, base3, 0o600); b.withK3s() }, nil, "add that line"},
		"an agent":            {func(b *fakeBox) { b.withK3s(); _ = os.Remove(b.m.Path(adminConfig)) }, nil, "kubeconfig"},
		"crun without WasmEdge": {func(b *fakeBox) {
			b.withK3s().packages = runtimes.Packages()
			b.write("/usr/bin/crun", "+SYSTEMD", 0o755)
			b.write("/usr/bin/runsc", "", 0o755)
		}, nil, "+WASM:wasmedge"},
		"a kubeconfig of that context": {func(b *fakeBox) { b.withK3s() }, func(s *provision.ClusterSpec) {
			_ = os.MkdirAll(filepath.Dir(s.Kubeconfig), 0o755)
			text := `{"apiVersion":"v1","kind":"Config","contexts":[{"name":"k3s-lab","context":{"cluster":"x","user":"x"}}]}`
			_ = os.WriteFile(s.Kubeconfig, []byte(text), 0o600)
		}, "labctl didn't write"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFakeBox(t, base3)
			if c.prepare != nil {
				c.prepare(b)
			}
			s := spec(t)
			if c.change != nil {
				c.change(&s)
			}
			before := b.snapshot()
			_, err := b.provider(b.withInstaller).Up(t.Context(), s, newLogged())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("what was refused changed the box; before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestRestartOnlyForChanges is a K3s that has everything already.
func TestRestartOnlyForChanges(t *testing.T) {
	b := newFakeBox(t, imports+base3)
	for _, f := range packageFiles {
		b.write(f.path, f.text, 0o755)
	}
	b.packages = runtimes.Packages()
	b.write("/usr/local/bin/"+runscShim, "the user's", 0o755)
	b.write(dropIns+"/10-mine.toml", "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.gvisor]\nruntime_type = \"io.containerd.runsc.v1\"\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wasmedge]\nruntime_type = \"io.containerd.runc.v2\"\n", 0o644)
	b.withK3s()
	log := newLogged()
	if _, err := b.provider().Up(t.Context(), spec(t), log); err != nil {
		t.Fatal(err)
	}
	if b.starts != 1 || b.read(dropIn) != "-" {
		t.Errorf("%d starts, drop-in %q", b.starts, b.read(dropIn))
	}
	if !strings.Contains(log.text(), "a handler gvisor that isn't labctl's") {
		t.Errorf("said %q", log.text())
	}
}

func TestPlan(t *testing.T) {
	b := newFakeBox(t, imports+base3).withK3s()
	before := b.snapshot()
	plan, err := b.provider().Plan(t.Context(), provision.ClusterSpec{Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	if after := b.snapshot(); after != before {
		t.Errorf("a plan changed the box; before:\n%s\nafter:\n%s", before, after)
	}
	want := `K3s v1.33.1+k3s1 is there and stays as it is.

Packages
  install crun
  install dbus
  install libwasmedge0
  install wasmedge
  install runsc
  install conntrack
  install ethtool
  install iproute2
  install procps
  install strace
  install libyajl2: another needs it

Files
  write   /usr/local/bin/containerd-shim-runsc-v1: gVisor's shim for containerd
  write   /usr/local/bin/labctl-runtime-setup: tries how runsc runs on this kernel, once
  write   /usr/local/bin/labctl-runsc: starts runsc where the kernel needs that
  write   /var/lib/labctl/runsc.toml: what the shim gives to runsc
  write   /var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/50-labctl.toml: handlers gvisor and wasmedge

Units
  start   dbus.socket: crun asks systemd for cgroups through the system bus
  restart k3s: its containerd gets another configuration; Pods go on

Objects
  make    RuntimeClass runc: handler runc
  make    RuntimeClass gvisor: handler gvisor
  use     RuntimeClass wasmedge: K3s made it, with the handler wasmedge

Images
  load    lab.example/labprobe-wasm:1: labprobe, into K3s's containerd, if it isn't there
  load    lab.example/labprobe:1: labprobe, into K3s's containerd, if it isn't there

Kubeconfig
  make    k3s-lab: a copy of /etc/rancher/k3s/k3s.yaml under another name, if it isn't there
`
	if got := plan.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDownLeavesUsers is a Pod of the user's in a class that would go.
func TestDownLeavesUsers(t *testing.T) {
	ctx := t.Context()
	b := newFakeBox(t, imports+base3).withK3s()
	p := b.provider()
	c, err := p.Up(ctx, spec(t), newLogged())
	if err != nil {
		t.Fatal(err)
	}
	if err := use(ctx, b, c); err != nil {
		t.Fatal(err)
	}
	class := "gvisor"
	pods := b.client.CoreV1().Pods("shop")
	if _, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "cart", Namespace: "shop"}, Spec: corev1.PodSpec{RuntimeClassName: &class}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	with := b.snapshot()
	if err := p.Down(ctx, "lab", newLogged()); err == nil || !strings.Contains(err.Error(), "shop/cart") {
		t.Errorf("got %v", err)
	}
	if after := b.snapshot(); after != with {
		t.Errorf("what was refused changed the box; before:\n%s\nafter:\n%s", with, after)
	}
	if err := pods.Delete(ctx, "cart", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := p.Down(ctx, "lab", newLogged()); err != nil {
		t.Error(err)
	}
}

func TestShimTrees(t *testing.T) {
	b := newFakeBox(t, base3)
	for pid, p := range map[string]struct{ argv, parent string }{
		"10": {"/usr/local/bin/containerd-shim-runsc-v1\x00-address\x00" + socket + "\x00", "1"},
		"11": {"runsc-sandbox\x00", "10"},
		"12": {"exe\x00", "11"},
		"20": {"containerd-shim-runsc-v1\x00-address\x00/run/containerd/containerd.sock\x00", "1"},
		"21": {"runsc-sandbox\x00", "20"},
		"30": {dataDir + "/data/x/bin/containerd-shim-runc-v2\x00-address\x00" + socket + "\x00", "1"},
	} {
		b.write("/proc/"+pid+"/cmdline", p.argv, 0o444)
		b.write("/proc/"+pid+"/stat", pid+" (a) b) S "+p.parent+" 1 1", 0o444)
	}
	got, err := shimTrees(b.m)
	if err != nil || !slices.Equal(got, []string{"10", "11", "12"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestWrongChecksum is an installer or a K3s that isn't the one that was meant:
// nothing is changed.
func TestWrongChecksum(t *testing.T) {
	none := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"the program":   {func(o *Options) { o.BinarySHA256 = none }, "has the SHA-256"},
		"the installer": {func(o *Options) { o.InstallerSHA256 = none }, "has the SHA-256"},
		"no program":    {func(o *Options) { o.Binary += "x" }, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFakeBox(t, base3)
			before := b.snapshot()
			_, err := b.provider(b.withInstaller, c.change).Up(t.Context(), spec(t), newLogged())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
			if after := b.snapshot(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// TestBeside is a second labctl.
func TestBeside(t *testing.T) {
	b := newFakeBox(t, imports+base3).withK3s()
	p := b.provider()
	unlock, err := p.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Up(t.Context(), spec(t), newLogged()); err == nil || !strings.Contains(err.Error(), "another labctl is at work") {
		t.Errorf("up: %v", err)
	}
	if err := p.Down(t.Context(), "lab", newLogged()); err == nil || !strings.Contains(err.Error(), "another labctl is at work") {
		t.Errorf("down: %v", err)
	}
	unlock()
	if _, err := p.Up(t.Context(), spec(t), newLogged()); err != nil {
		t.Error(err)
	}
	if err := p.Down(t.Context(), "other", newLogged()); err != nil || b.read(dropIn) == "-" {
		t.Errorf("down of another name: %v", err)
	}
}

// TestPressure is a kubelet that takes no Pods, for a while or for good.
func TestPressure(t *testing.T) {
	for name, passes := range map[string]bool{"it passes": true, "it stays": false} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			b := newFakeBox(t, imports+base3).withK3s()
			nodes := b.client.CoreV1().Nodes()
			n, err := nodes.Get(ctx, "box", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			full := n.DeepCopy()
			full.Status.Conditions = append(full.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Reason: "KubeletHasDiskPressure"})
			if _, err := nodes.Update(ctx, full, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			p := b.provider()
			if passes {
				p.times.room = time.Minute
				timer := time.AfterFunc(2*time.Second, func() { _, _ = nodes.Update(ctx, n, metav1.UpdateOptions{}) })
				defer timer.Stop()
			}
			_, err = p.Up(ctx, spec(t), newLogged())
			if passes != (err == nil) || err != nil && !strings.Contains(err.Error(), "node box takes no Pods: DiskPressure (KubeletHasDiskPressure") {
				t.Errorf("got %v", err)
			}
		})
	}
}
