//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/e2e/k3sbox"
	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// Files of K3s and labctl's beside them.
const (
	containerdDir = "/var/lib/rancher/k3s/agent/etc/containerd"
	imagesDir     = "/var/lib/rancher/k3s/agent/images"
	boxLabctl     = k3sbox.Folder + "/labctl"
)

// generations are those of containerd's configuration in K3s, with the file
// that labctl writes.
var generations = map[string]string{
	k3sbox.V2:     containerdDir + "/config.toml.tmpl",
	k3sbox.V3:     containerdDir + "/config-v3.toml.tmpl",
	k3sbox.DropIn: containerdDir + "/config-v3.toml.d/50-labctl.toml",
}

// k3sBox is a box with labctl on it and the files that K3s is installed from.
type k3sBox struct {
	*k3sbox.Box
	files k3sbox.Files
}

// newK3sBox starts one. Its apt gets packages from where this machine's does,
// and gVisor's shim is in labctl's cache there, as after a first run.
func newK3sBox(t *testing.T, o k3sbox.Options) *k3sBox {
	t.Helper()
	ctx := t.Context()
	b := &k3sBox{Box: k3sbox.Start(t, o)}
	b.files = b.Deliver(t)
	if err := b.UseApt(ctx); err != nil {
		t.Fatal(err)
	}
	shim := gvisorShim(t)
	for from, to := range map[string]string{
		suite.binary: boxLabctl,
		shim:         path.Join("/root/.cache/labctl/artifacts", filepath.Base(shim)),
	} {
		if err := b.Copy(ctx, from, to); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// gvisorShim is the folder of gVisor's shim in this machine's cache.
func gvisorShim(t *testing.T) string {
	t.Helper()
	cache, err := artifact.Default()
	if err != nil {
		t.Fatal(err)
	}
	pins, err := images.ReadPins()
	if err != nil {
		t.Fatal(err)
	}
	apt, err := debian.Open(t.Context(), debian.Options{Dir: filepath.Join(cache.Dir, "apt"), Suite: pins.Debian.Suite, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := runtimes.Shim(t.Context(), cache, apt, runtimes.ShimOptions{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// labctl runs labctl in the box; its status goes to the test's log.
func (b *k3sBox) labctl(t *testing.T, args ...string) run {
	t.Helper()
	start := time.Now()
	r := b.try(t.Context(), args...)
	t.Logf("labctl %s: exit code %d after %s\n%s", strings.Join(args, " "), r.code, time.Since(start).Round(100*time.Millisecond), r.stderr)
	return r
}

func (b *k3sBox) try(ctx context.Context, args ...string) run {
	var stdout, stderr bytes.Buffer
	cmd := b.Command(append([]string{"env", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", boxLabctl}, args...)...)
	cmd.Stdout = &stdout
	cmd.Log = &stderr
	r, err := process.Run(ctx, cmd)
	out := run{stdout: string(r.Stdout), stderr: string(r.Stderr), code: r.Code}
	if err != nil && r.Code == 0 {
		out.code, out.stderr = -1, out.stderr+err.Error()
	}
	return out
}

// must runs labctl in the box and ends the test if its exit code isn't 0.
func (b *k3sBox) must(t *testing.T, args ...string) run {
	t.Helper()
	r := b.labctl(t, args...)
	if r.code != 0 {
		t.Fatalf("labctl %q: exit code %d\n%s\n%s", args, r.code, r.stdout, b.Journal(t.Context()))
	}
	return r
}

// fails runs labctl in the box and wants it to fail with these words.
func (b *k3sBox) fails(t *testing.T, words []string, args ...string) {
	t.Helper()
	r := b.labctl(t, args...)
	if r.code == 0 {
		t.Fatalf("labctl %q did not fail", args)
	}
	for _, w := range words {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("%q isn't in:\n%s", w, r.stderr)
		}
	}
}

// fresh are the arguments of an up on a box without K3s.
func (b *k3sBox) fresh() []string {
	return []string{"up", "--provider", "k3s", "--installer", b.files.Installer, "--k3s-binary", b.files.Binary}
}

// images puts K3s's images where K3s takes them up, as an air-gapped machine
// has them before K3s is installed.
func (b *k3sBox) placeImages(t *testing.T) {
	t.Helper()
	if b.files.Images == "" {
		return
	}
	b.Must(t, "mkdir", "-p", imagesDir)
	b.Must(t, "cp", b.files.Images, imagesDir+"/")
}

func (b *k3sBox) snapshot(t *testing.T) k3sbox.Snapshot {
	t.Helper()
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// notLabctls is what differs on a box for other reasons than labctl's changes:
// logs, labctl's and kubectl's caches below the user's folder, and what Debian
// keeps of a package that was purged: the system user of dbus (Debian Policy,
// 9.2.2) and dpkg's own records.
var notLabctls = []string{
	`^(file|sum) /root/\.(local|cache|kube/cache)(/|$)`, `^(file|sum) /var/log/`, `^(file|sum) /var/cache/`,
	`^(file|sum) /etc/(passwd|shadow|group|gshadow)-?$`, `^(file|sum) /var/lib/dpkg/(status|statoverride)(-old)?$`, `^file /var/lib/apt/lists/auxfiles$`,
}

// k3sOwn is what K3s itself changes all the time.
var k3sOwn = []string{
	`^(file|sum) /var/lib/rancher/k3s/server/db/`, `^(file|sum) /var/lib/rancher/k3s/agent/containerd/`, `^(file|sum) /var/lib/kubelet/`, `^(file|sum) /var/lib/cni/`, `^process `,
	// The box's Pod network is ptp, which leaves its masquerading of a gVisor
	// Pod: at the end it looks for the addresses in the Pod's namespace, and
	// runsc took them over. K3s's own network doesn't masquerade by Pod.
	`^rule iptables -A (CNI-|POSTROUTING -s 10\.42\.)`,
}

// leaves compares the box with what it was.
func (b *k3sBox) leaves(t *testing.T, before k3sbox.Snapshot, except ...string) {
	t.Helper()
	if left := k3sbox.Diff(before, b.snapshot(t), append(except, notLabctls...)...); len(left) > 0 {
		t.Errorf("labctl down leaves:\n%s", strings.Join(left, "\n"))
	}
}

// started is when K3s's service was started last.
func (b *k3sBox) started(t *testing.T) string {
	t.Helper()
	return b.Must(t, "systemctl", "show", "k3s", "--property", "ExecMainStartTimestampMonotonic,NRestarts")
}

// settle waits until K3s has nothing left to make.
func (b *k3sBox) settle(t *testing.T) {
	t.Helper()
	b.Await(t, "K3s's RuntimeClasses", time.Minute, "k3s", "kubectl", "get", "runtimeclass", "wasmtime")
	b.Await(t, "K3s's Pods", 3*time.Minute, "k3s", "kubectl", "--namespace=kube-system", "wait", "--for=condition=Available", "deployment", "--all", "--timeout=5s")
}

// survivor starts a Pod of the user's.
func (b *k3sBox) survivor(t *testing.T) (container func() string) {
	t.Helper()
	refs := strings.Fields(b.Must(t, "k3s", "ctr", "images", "ls", "-q"))
	ref := ""
	for _, r := range refs {
		if strings.Contains(r, "busybox") {
			ref = r
		}
	}
	manifest := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"survivor"},"spec":{"terminationGracePeriodSeconds":1,
"containers":[{"name":"main","image":%q,"imagePullPolicy":"Never","command":["/bin/sh","-c","while :; do sleep 1; done"]}]}}`, ref)
	if err := b.Write(t.Context(), "/tmp/pod.json", 0o600, []byte(manifest)); err != nil {
		t.Fatal(err)
	}
	b.Await(t, "default service account", time.Minute, "k3s", "kubectl", "get", "serviceaccount", "default")
	b.Must(t, "k3s", "kubectl", "apply", "-f", "/tmp/pod.json")
	b.Await(t, "the user's Pod", 2*time.Minute, "k3s", "kubectl", "wait", "--for=condition=Ready", "pod/survivor", "--timeout=5s")
	return func() string {
		return b.Must(t, "k3s", "kubectl", "get", "pod", "survivor", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}")
	}
}

// TestK3sThere prepares a K3s that is there, of each generation, and takes it
// all back.
func TestK3sThere(t *testing.T) {
	for generation, file := range generations {
		t.Run(generation, func(t *testing.T) {
			b := newK3sBox(t, k3sbox.Options{Generation: generation})
			b.Install(t, b.files, nil)
			b.AwaitNode(t)
			b.settle(t)
			container := b.survivor(t)
			pod := container()
			before := b.snapshot(t)

			plan := b.must(t, "up", "--provider", "k3s", "--dry-run")
			t.Log(plan.stdout)
			for _, want := range []string{file, "use     RuntimeClass wasmedge: K3s made it", "restart k3s"} {
				if !strings.Contains(plan.stdout, want) {
					t.Errorf("the plan has no %q", want)
				}
			}
			b.leaves(t, before, k3sOwn...)

			up := b.must(t, "up", "--provider", "k3s")
			if !strings.Contains(up.stderr, "RuntimeClass wasmedge is used as it is") {
				t.Error("up doesn't say that K3s's own RuntimeClass is used")
			}
			if now := container(); now != pod {
				t.Errorf("the user's Pod has the container %s, and had %s", now, pod)
			}
			since := b.started(t)
			b.must(t, "up", "--provider", "k3s")
			if now := b.started(t); now != since {
				t.Errorf("the second up restarted K3s: %s, before %s", now, since)
			}
			b.must(t, "down", "--provider", "k3s")
			if now := container(); now != pod {
				t.Errorf("after down the user's Pod has the container %s, and had %s", now, pod)
			}
			b.AwaitNode(t)
			b.leaves(t, before, k3sOwn...)
		})
	}
}

// isolationLabs are those of the five layers: what a box without a Go
// toolchain, and so without add-ons, can show.
var isolationLabs = []string{
	"isolation-comparison", "isolation-stack", "l-0-hardware-assist", "l-1-full-virtualization",
	"l-2-paravirtualization", "l-3-containerization", "l-4-sandboxing",
}

// TestK3sFresh makes a box a node, runs the labs and a comparison there, and
// makes it a plain box again.
func TestK3sFresh(t *testing.T) {
	b := newK3sBox(t, k3sbox.Options{})
	b.placeImages(t)
	before := b.snapshot(t)
	b.must(t, b.fresh()...)
	t.Run("labs", func(t *testing.T) {
		r := b.labctl(t, append([]string{"verify", "--provider", "k3s", "-o", "json"}, isolationLabs...)...)
		got, err := result.Read([]byte(r.stdout))
		if err != nil {
			t.Fatalf("exit code %d: %v", r.code, err)
		}
		decided := map[lab.Layer]int{}
		for _, l := range got.Labs {
			if l.Error != "" {
				t.Errorf("lab %s: %s", l.Name, l.Error)
			}
			for _, c := range l.Claims {
				t.Logf("%-16s %s", c.ID, c.Verdict)
				if c.Error != "" || !c.OK {
					t.Errorf("%s: %s, expected %s: %v %s\n%s", c.ID, c.Verdict, c.Expected, c.Reason, c.Error, shown(c))
				}
				if c.Verdict == lab.Confirmed || c.Verdict == lab.Refuted {
					decided[c.Layer]++
				}
			}
		}
		for _, l := range []lab.Layer{lab.L0, lab.L3, lab.L4} {
			if decided[l] == 0 {
				t.Errorf("no claim of layer %s was decided", l)
			}
		}
	})
	t.Run("comparison", func(t *testing.T) {
		b.must(t, "compare", "--provider", "k3s", "--quick")
	})
	b.must(t, b.fresh()...)
	b.must(t, "down", "--provider", "k3s")
	b.leaves(t, before, k3sLeaves...)
}

// k3sLeaves is what K3s's own uninstall script leaves: until the next boot,
// and the cache of the kubectl that the stand-in runs.
var k3sLeaves = []string{`^file /run/(netns|xtables\.lock)$`, `^process `, `^file /root/\.kube$`}

// TestK3sFaultsFresh is what goes wrong while a box becomes a node: each ends
// in a clear error, up converges after all of it, and down leaves the box as
// it was.
func TestK3sFaultsFresh(t *testing.T) {
	ctx := t.Context()
	b := newK3sBox(t, k3sbox.Options{})
	b.placeImages(t)
	before := b.snapshot(t)

	t.Run("port taken", func(t *testing.T) {
		b.Must(t, "systemd-run", "--unit=taken", "systemd-socket-activate", "--listen=6443", "/bin/cat")
		b.Await(t, "the port is taken", 10*time.Second, "sh", "-c", "grep -q :192B /proc/net/tcp /proc/net/tcp6")
		b.fails(t, []string{"port 6443", "is taken by systemd"}, b.fresh()...)
		b.Must(t, "systemctl", "stop", "taken")
		b.leaves(t, before, `^process `)
	})
	t.Run("binary with a wrong checksum", func(t *testing.T) {
		b.fails(t, []string{"has the SHA-256", strings.Repeat("0", 64)}, append(b.fresh(), "--k3s-binary-sha256", strings.Repeat("0", 64))...)
	})
	t.Run("installer with a wrong checksum", func(t *testing.T) {
		b.fails(t, []string{"has the SHA-256"}, append(b.fresh(), "--installer-sha256", strings.Repeat("0", 64))...)
		b.leaves(t, before, `^process `)
	})
	t.Run("installer fails midway", func(t *testing.T) {
		text, err := b.Read(ctx, b.files.Installer)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(text), "\n")
		broken := first + "\nsystemctl() { echo the bus is gone >&2; return 1; }\n" + rest
		if err := b.Write(ctx, "/tmp/broken.sh", 0o755, []byte(broken)); err != nil {
			t.Fatal(err)
		}
		b.fails(t, []string{"ended with 1", "the bus is gone", "labctl goes on from there"}, "up", "--provider", "k3s", "--installer", "/tmp/broken.sh", "--k3s-binary", b.files.Binary)
		b.must(t, "down", "--provider", "k3s")
		b.leaves(t, before, k3sLeaves...)
		b.fails(t, []string{"ended with 1"}, "up", "--provider", "k3s", "--installer", "/tmp/broken.sh", "--k3s-binary", b.files.Binary)
	})
	t.Run("power cut while it is configured", func(t *testing.T) {
		file := generations[k3sbox.DropIn]
		done := make(chan run, 1)
		go func() { done <- b.try(context.WithoutCancel(ctx), b.fresh()...) }()
		for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
			if _, err := b.Run(ctx, "test", "-e", file); err == nil {
				break
			}
			if time.Since(start) > 4*time.Minute {
				t.Fatalf("%s was never written", file)
			}
		}
		if err := b.PowerCut(ctx); err != nil {
			t.Fatal(err)
		}
		if r := <-done; r.code == 0 {
			t.Fatal("labctl was done before the power was cut")
		}
		b.AwaitNode(t)
	})
	b.must(t, b.fresh()...)
	b.must(t, "down", "--provider", "k3s")
	b.leaves(t, before, append(bootLeaves, k3sLeaves...)...)
}

// bootLeaves is what another boot changes.
var bootLeaves = []string{`^(file|sum) /etc/(resolv\.conf|hosts|hostname|mtab)$`, `^route `, `^file /run/`, `^file /var/lib$`, `^service ldconfig\.service$`}

// TestK3sTemplateRefused is a template of the user's that has the handlers in a
// way that can't be seen before it is rendered: containerd refuses them twice,
// and K3s runs as before.
func TestK3sTemplateRefused(t *testing.T) {
	ctx := t.Context()
	b := newK3sBox(t, k3sbox.Options{Generation: k3sbox.V3})
	b.Install(t, b.files, nil)
	b.AwaitNode(t)
	b.settle(t)
	pod := b.survivor(t)
	container := pod()
	const template = containerdDir + "/config-v3.toml.tmpl"
	own := "# mine\n" + base3
	if err := b.Write(ctx, template, 0o600, []byte(own)); err != nil {
		t.Fatal(err)
	}
	b.fails(t, []string{template, "doesn't extend K3s's own"}, "up", "--provider", "k3s")
	own = `{{ template "base" . }}
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{{ "gvisor" }}]
  runtime_type = "io.containerd.runc.v2"
`
	if err := b.Write(ctx, template, 0o600, []byte(own)); err != nil {
		t.Fatal(err)
	}
	b.fails(t, []string{"K3s did not come back", "K3s runs as before", "containerd: "}, "up", "--provider", "k3s")
	if text, err := b.Read(ctx, template); err != nil || string(text) != own {
		t.Errorf("the template is %q, %v", text, err)
	}
	b.AwaitNode(t)
	if now := pod(); now != container {
		t.Errorf("the user's Pod has the container %s, and had %s", now, container)
	}
	b.Must(t, "rm", template)
	b.Must(t, "systemctl", "restart", "k3s")
	b.AwaitNode(t)
	b.must(t, "up", "--provider", "k3s")
	b.must(t, "down", "--provider", "k3s")
}

// base3 is a template that doesn't extend K3s's own.
const base3 = "version = 3\n"

// TestK3sDiskFull fills the disk before labctl loads its images. Either that
// fails, or the kubelet has noticed before and takes no Pods.
func TestK3sDiskFull(t *testing.T) {
	b := newK3sBox(t, k3sbox.Options{DataSize: "1g"})
	// Else the kubelet takes no Pods for five minutes after there is room again.
	if err := b.Write(t.Context(), "/etc/rancher/k3s/config.yaml.d/10-eviction.yaml", 0o600, []byte("kubelet-arg+:\n- eviction-pressure-transition-period=10s\n")); err != nil {
		t.Fatal(err)
	}
	b.Install(t, b.files, nil)
	b.AwaitNode(t)
	b.settle(t)
	b.Must(t, "sh", "-c", "free=$(df --output=avail -k /var/lib/rancher | tail -1); fallocate -l $((free - 3000))k /var/lib/rancher/filler")
	b.fails(t, []string{"The disk is full: make room"}, "up", "--provider", "k3s")
	b.Must(t, "rm", "/var/lib/rancher/filler")
	b.AwaitNode(t)
	b.must(t, "up", "--provider", "k3s")
	b.must(t, "down", "--provider", "k3s")
}
