//go:build e2e

package k3sbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// TestStandIn takes a box through K3s's life: install, a Pod, a restart that
// the Pod survives, a power cut, uninstall.
func TestStandIn(t *testing.T) {
	ctx := t.Context()
	b := Start(t, Options{})
	files := b.Deliver(t)
	before := snapshot(t, b)

	b.Install(t, files, nil)
	b.AwaitNode(t)
	t.Run("version", func(t *testing.T) {
		out := b.Must(t, "k3s", "--version")
		if !strings.HasPrefix(out, "k3s version v1.") || !strings.Contains(out, "+k3s1 (") || !strings.Contains(out, "\ngo version go") {
			t.Error(out)
		}
	})
	t.Run("files", func(t *testing.T) {
		for file, mode := range map[string]string{
			"/etc/rancher/k3s/k3s.yaml": "600", "/var/lib/rancher/k3s/server/token": "600",
			"/var/lib/rancher/k3s/server/db/state.db": "644", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml": "600",
			"/run/k3s/containerd/containerd.sock": "660", "/var/lib/rancher/k3s/data/current/bin/containerd": "755",
			"/usr/local/bin/k3s-killall.sh": "755", "/usr/local/bin/k3s-uninstall.sh": "755", "/etc/systemd/system/k3s.service": "644",
			"/etc/systemd/system/k3s.service.env": "600",
		} {
			if got := strings.TrimSpace(b.Must(t, "stat", "-L", "-c", "%a", file)); got != mode {
				t.Errorf("%s has mode %s, want %s", file, got, mode)
			}
		}
	})
	t.Run("classes and roles", func(t *testing.T) {
		b.Await(t, "RuntimeClasses", time.Minute, "kubectl", "get", "runtimeclass", "wasmtime")
		classes := strings.Fields(b.Must(t, "kubectl", "get", "runtimeclass", "-o", "jsonpath={.items[*].handler}"))
		slices.Sort(classes)
		want := []string{"crun", "lunatic", "nvidia", "nvidia-experimental", "slight", "spin", "wasmedge", "wasmer", "wasmtime", "wws"}
		if !slices.Equal(classes, want) {
			t.Errorf("classes %v, want %v", classes, want)
		}
		b.Await(t, "role of the node", time.Minute, "sh", "-c", "k3s kubectl get node -l node-role.kubernetes.io/control-plane=true -o name | grep .")
	})
	t.Run("cluster DNS and storage come up", func(t *testing.T) {
		for _, d := range []string{"coredns", "local-path-provisioner"} {
			b.Await(t, d, 2*time.Minute, "kubectl", "-n", "kube-system", "rollout", "status", "deployment/"+d, "--timeout=5s")
		}
	})

	pod := runPod(t, b, "survivor", "")
	b.Must(t, "systemctl", "restart", "k3s")
	b.AwaitNode(t)
	if now := container(t, b, "survivor"); now != pod {
		t.Errorf("after the restart of K3s the Pod's container is %s, before it was %s", now, pod)
	}
	// A kubelet that just started doesn't know its Pods for a moment.
	b.Await(t, "exec after the restart", time.Minute, "kubectl", "exec", "survivor", "--", "sh", "-c", "exit 0")

	// Killed, K3s takes its parts along and leaves the Pod running.
	parts := b.Must(t, "pgrep", "-x", "containerd|kubelet|kine|kube-apiserver|kube-proxy")
	b.Must(t, "systemctl", "kill", "--signal=KILL", "--kill-whom=main", "k3s")
	b.Await(t, "end of the parts", time.Minute, "sh", "-c", "! kill -0 "+strings.Join(strings.Fields(parts), " 2>/dev/null && ! kill -0 ")+" 2>/dev/null")
	b.AwaitNode(t)
	if now := container(t, b, "survivor"); now != pod {
		t.Errorf("after K3s was killed the Pod's container is %s, before it was %s", now, pod)
	}

	t.Run("installed again, nothing changes", func(t *testing.T) {
		if said := b.Install(t, files, nil); !strings.Contains(said, "No change detected so skipping service start") {
			t.Error(said)
		}
	})

	if err := b.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	b.AwaitNode(t)
	b.Await(t, "the Pod after the power cut", 3*time.Minute, "kubectl", "exec", "survivor", "--", "sh", "-c", "exit 0")

	b.Must(t, "k3s-uninstall.sh")
	kubectls := `^(file|sum) /root/\.kube(/|$)` // cache of the kubectl that this test called
	if left := Diff(before, snapshot(t, b), slices.Concat(Volatile, Leftovers, []string{kubectls})...); len(left) > 0 {
		t.Errorf("the uninstall script leaves:\n%s", strings.Join(left, "\n"))
	}
}

func snapshot(t *testing.T, b *Box) Snapshot {
	t.Helper()
	s, err := b.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runPod starts a Pod that sleeps, and gives its container's ID and start.
func runPod(t *testing.T, b *Box, name, class string) string {
	t.Helper()
	images := strings.Fields(b.Must(t, "k3s", "ctr", "images", "ls", "-q"))
	i := slices.IndexFunc(images, func(ref string) bool { return strings.Contains(ref, "library-busybox") })
	if i < 0 {
		t.Fatalf("no busybox among the images: %v", images)
	}
	manifest := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  runtimeClassName: %q
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: %s, imagePullPolicy: Never, command: [/bin/sh, -c, "while :; do sleep 1; done"]}
`, name, class, images[i])
	if class == "" {
		manifest = strings.Replace(manifest, "  runtimeClassName: \"\"\n", "", 1)
	}
	if err := b.Write(t.Context(), "/tmp/pod.yaml", 0o600, []byte(manifest)); err != nil {
		t.Fatal(err)
	}
	b.Await(t, "default service account", time.Minute, "kubectl", "get", "serviceaccount", "default")
	b.Must(t, "kubectl", "apply", "-f", "/tmp/pod.yaml")
	b.Await(t, "Pod "+name, 2*time.Minute, "kubectl", "wait", "--for=condition=Ready", "pod/"+name, "--timeout=5s")
	return container(t, b, name)
}

func container(t *testing.T, b *Box, pod string) string {
	t.Helper()
	return b.Must(t, "kubectl", "get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].state.running.startedAt}")
}

// runtimes are the handlers in containerd's effective configuration.
func runtimes(t *testing.T, b *Box) map[string]map[string]any {
	t.Helper()
	dump := b.Must(t, "/var/lib/rancher/k3s/data/current/bin/containerd", "-c", containerdDir+"/config.toml", "config", "dump")
	var config struct {
		Plugins map[string]struct {
			Containerd struct {
				Runtimes map[string]map[string]any
			}
		}
	}
	if _, err := toml.Decode(dump, &config); err != nil {
		t.Fatal(err)
	}
	return config.Plugins["io.containerd.cri.v1.runtime"].Containerd.Runtimes
}

const containerdDir = "/var/lib/rancher/k3s/agent/etc/containerd"

// TestGenerations installs each generation on one box after another: what is
// rendered, what is found on PATH, and how a handler of the user's gets in.
func TestGenerations(t *testing.T) {
	handler := func(table string) string {
		return "[plugins." + table + ".containerd.runtimes.second]\n  runtime_type = \"io.containerd.runc.v2\"\n"
	}
	const v2, v3 = `"io.containerd.grpc.v1.cri"`, `'io.containerd.cri.v1.runtime'`
	for _, c := range []struct {
		generation, version, file, content string
	}{
		{V2, "v1.30.", "config.toml.tmpl", "{{ template \"base\" . }}\n" + handler(v2)},
		{V3, "v1.33.", "config-v3.toml.tmpl", "{{ template \"base\" . }}\n" + handler(v3)},
		{DropIn, "", "config-v3.toml.d/50-test.toml", "version = 3\n" + handler(v3)},
	} {
		t.Run(c.generation, func(t *testing.T) {
			b := Start(t, Options{Generation: c.generation})
			files := b.Deliver(t)
			if files.Real {
				t.Skip("LABCTL_K3S_BINARY is of one generation; the stand-in has all three")
			}
			// A runtime that K3s finds: what is behind it doesn't matter here.
			if err := b.Write(t.Context(), "/usr/local/bin/crun", 0o755, []byte("#!/bin/sh\nexec /var/lib/rancher/k3s/data/current/bin/runc \"$@\"\n")); err != nil {
				t.Fatal(err)
			}
			if err := b.Write(t.Context(), containerdDir+"/"+c.file, 0o644, []byte(c.content)); err != nil {
				t.Fatal(err)
			}
			b.Install(t, files, []string{"INSTALL_K3S_EXEC=--disable=coredns,local-storage"})
			b.AwaitNode(t)
			if c.version == "" { // the newest is that of the Kubernetes inside
				c.version = b.Must(t, "kubectl", "get", "node", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}+k3s1 ")
			}
			if out := b.Must(t, "k3s", "--version"); !strings.Contains(out, c.version) {
				t.Errorf("%s says nothing of %s", out, c.version)
			}
			got := runtimes(t, b)
			for _, name := range []string{"runc", "crun", "second"} {
				if got[name]["runtime_type"] != "io.containerd.runc.v2" {
					t.Errorf("handler %s: %v", name, got[name])
				}
			}
			if options, _ := got["crun"]["options"].(map[string]any); options["BinaryName"] != "/usr/local/bin/crun" {
				t.Errorf("crun: %v", got["crun"])
			}
			b.Await(t, "RuntimeClasses", time.Minute, "kubectl", "get", "runtimeclass", "crun")
			runPod(t, b, "by-crun", "crun")
		})
	}
}

// TestRefusals are what K3s refuses, and how it comes up again.
func TestRefusals(t *testing.T) {
	ctx := t.Context()
	b := Start(t, Options{})
	files := b.Deliver(t)
	b.Install(t, files, []string{"INSTALL_K3S_EXEC=--disable=coredns,local-storage"})
	b.AwaitNode(t)

	template := containerdDir + "/config-v3.toml.tmpl"
	const twice = "{{ template \"base\" . }}\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\n"
	for _, c := range []struct{ name, file, content, log, says string }{
		{"a table twice", template, twice, "cat /var/lib/rancher/k3s/agent/containerd/containerd.log", "runc"},
		{"no template", template, "{{ if }}", "journalctl -u k3s -o cat --no-pager", "template"},
		{"an unknown flag", "/etc/systemd/system/k3s.service.d/10-test.conf",
			"[Service]\nExecStart=\nExecStart=/usr/local/bin/k3s server --no-such-flag\n", "journalctl -u k3s -o cat --no-pager", "not defined: -no-such-flag"},
		{"the port is taken", "/etc/systemd/system/k3s.service.d/10-test.conf",
			"[Service]\nExecStartPre=-systemd-run --unit=blocker systemd-socket-activate -l 6443 true\n",
			"journalctl -u k3s -o cat --no-pager", "6443: bind: address already in use"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := b.Write(ctx, c.file, 0o644, []byte(c.content)); err != nil {
				t.Fatal(err)
			}
			b.Must(t, "systemctl", "daemon-reload")
			// It starts, fails, and is started again, for ever.
			if _, err := b.Run(ctx, "systemctl", "restart", "--no-block", "k3s"); err != nil {
				t.Fatal(err)
			}
			b.Await(t, "an error in the log", time.Minute, "sh", "-c", c.log+" | grep -q -e \""+c.says+"\"")
			b.Await(t, "K3s ends", time.Minute, "sh", "-c", "systemctl show k3s -P NRestarts | grep -vx 0 || systemctl show k3s -P SubState | grep auto-restart")
			b.Must(t, "rm", c.file)
			b.Must(t, "sh", "-c", "systemctl stop blocker 2>/dev/null; systemctl daemon-reload")
			b.Must(t, "systemctl", "restart", "k3s")
			b.AwaitNode(t)
		})
	}
}

// TestCgroupV1: K3s 1.35 and later, and the newest stand-in, don't run on cgroup
// v1 without a setting, which Install makes.
func TestCgroupV1(t *testing.T) {
	b := Start(t, Options{})
	if _, err := b.Run(t.Context(), "test", "-e", "/sys/fs/cgroup/cgroup.controllers"); err == nil {
		t.Skip("this machine is on cgroup v2")
	}
	b.Install(t, b.Deliver(t), []string{"INSTALL_K3S_EXEC=--disable=coredns,local-storage"})
	b.AwaitNode(t)
	b.Must(t, "rm", "/etc/rancher/k3s/config.yaml.d/00-cgroup-v1.yaml")
	b.Must(t, "systemctl", "restart", "--no-block", "k3s")
	b.Await(t, "the kubelet's refusal", time.Minute, "sh", "-c", "journalctl -u k3s -o cat --no-pager | grep 'configured to not run on a host using cgroup v1'")
	b.Await(t, "K3s ends", time.Minute, "sh", "-c", "systemctl show k3s -P NRestarts | grep -vx 0")
}

// TestSettings: config.yaml.d, disabled components, the environment file, and
// a second service name.
func TestSettings(t *testing.T) {
	ctx := t.Context()
	b := Start(t, Options{})
	files := b.Deliver(t)
	if err := b.Write(ctx, "/etc/rancher/k3s/config.yaml.d/50-test.yaml", 0o600, []byte(
		"write-kubeconfig-mode: \"0640\"\nnode-label: [test/a=b]\ndisable: [coredns, local-storage, runtimes, traefik]\nkubelet-arg+: [max-pods=7]\n")); err != nil {
		t.Fatal(err)
	}
	b.Install(t, files, []string{"INSTALL_K3S_NAME=edge", "K3S_NODE_NAME=named", "INSTALL_K3S_SYMLINK=skip"})
	b.AwaitNode(t)
	var node struct {
		Metadata struct{ Labels map[string]string }
		Status   struct{ Capacity map[string]string }
	}
	if err := json.Unmarshal([]byte(b.Must(t, "k3s", "kubectl", "get", "node", "named", "-o", "json")), &node); err != nil {
		t.Fatal(err)
	}
	if node.Metadata.Labels["test/a"] != "b" || node.Status.Capacity["pods"] != "7" {
		t.Errorf("node: %+v", node)
	}
	if mode := strings.TrimSpace(b.Must(t, "stat", "-c", "%a", "/etc/rancher/k3s/k3s.yaml")); mode != "640" {
		t.Errorf("kubeconfig has mode %s", mode)
	}
	if out := b.Must(t, "k3s", "kubectl", "get", "runtimeclass", "-o", "name"); out != "" {
		t.Errorf("classes of a disabled component: %s", out)
	}
	if _, err := b.Run(context.WithoutCancel(ctx), "test", "-e", "/usr/local/bin/kubectl"); err == nil {
		t.Error("there is a link though INSTALL_K3S_SYMLINK=skip")
	}
	b.Must(t, "systemctl", "is-active", "k3s-edge")
	b.Must(t, "k3s-edge-uninstall.sh")
	if _, err := b.Run(ctx, "sh", "-c", "ls -d /var/lib/rancher/k3s /etc/rancher/k3s /usr/local/bin/k3s* /etc/systemd/system/k3s* 2>/dev/null | grep ."); err == nil {
		t.Error("something of K3s is left")
	}
}

// TestDiskFull: an archive of images that doesn't fit is an error in K3s's
// log, and K3s goes on.
func TestDiskFull(t *testing.T) {
	b := Start(t, Options{DataSize: "380m"}) // the parts take 310 MB, the archive 42
	files := b.Deliver(t)
	if files.Real {
		t.Skip("the size fits the stand-in")
	}
	b.Install(t, files, nil)
	b.Await(t, "an error in the log", time.Minute, "sh", "-c",
		"journalctl -u k3s -o cat --no-pager | grep 'Error encountered while importing' | grep 'no space left on device'")
	b.Must(t, "systemctl", "is-active", "k3s")
}

// TestOpenRC installs on a box whose service manager seems to be OpenRC: only
// what the installer writes is looked at, because nothing starts it here.
func TestOpenRC(t *testing.T) {
	b := Start(t, Options{})
	files := b.Deliver(t)
	for _, stub := range []string{"/sbin/openrc-run", "/sbin/rc-update"} {
		if err := b.Write(t.Context(), stub, 0o755, []byte("#!/bin/sh\necho \"$0 $*\" >>/tmp/rc.log\n")); err != nil {
			t.Fatal(err)
		}
	}
	b.Install(t, files, []string{"INSTALL_K3S_SKIP_START=true", "K3S_NODE_NAME=edge", "INSTALL_K3S_EXEC=server --disable=coredns"})
	b.Must(t, "sh", "-n", "/etc/init.d/k3s")
	for file, want := range map[string]string{
		"/etc/init.d/k3s":          "--disable=coredns",
		"/etc/rancher/k3s/k3s.env": "K3S_NODE_NAME='edge'",
		"/tmp/rc.log":              "rc-update add k3s default",
	} {
		if content := b.Must(t, "cat", file); !strings.Contains(content, want) {
			t.Errorf("%s has no %q:\n%s", file, want, content)
		}
	}
	b.Must(t, "k3s-uninstall.sh")
	if _, err := b.Run(t.Context(), "test", "-e", "/etc/init.d/k3s"); err == nil {
		t.Error("the service is left")
	}
}
