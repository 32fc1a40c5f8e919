package k3s

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// fakeBox is a machine in a folder on which the programs that the provider
// calls keep their real contract, as far as it is used: systemctl, K3s (which
// renders containerd's configuration when it starts, and has none if that is
// no TOML), K3s's ctr, its installer and uninstall script, dpkg-query and
// apt-get. The end-to-end tests run the same on a box with real parts.
type fakeBox struct {
	t      *testing.T
	m      machine.Machine
	client *fake.Clientset
	base   string // of containerd's configuration
	// k3s is the release that K3s says it has.
	k3s string

	mu       sync.Mutex
	active   bool
	starts   int               // how often K3s was started
	packages []string          // installed
	images   []string          // in containerd
	tasks    map[string]string // container to process
	calls    int               // of Exec
	killAt   int               // the call from which on labctl is dead; 0 is never
	killed   func()            // ends labctl's context, so that it doesn't wait as the dead don't
	fail     string            // a program that fails, by a word in its command line
}

const (
	bootID    = "2b1d4a5c-0000-4000-8000-000000000001"
	machineID = "0123456789abcdef0123456789abcdef"
)

func newFakeBox(t *testing.T, base string) *fakeBox {
	t.Helper()
	b := &fakeBox{t: t, base: base, k3s: "v1.33.1+k3s1", client: fake.NewClientset(), tasks: map[string]string{}}
	b.m = machine.Machine{Root: t.TempDir(), Exec: b.exec}
	b.write("/proc/sys/kernel/random/boot_id", bootID+"\n", 0o444)
	b.write("/etc/machine-id", machineID+"\n", 0o444)
	b.write("/proc/mounts", "", 0o444)
	for _, dir := range []string{"/run/systemd/system", "/usr/local/bin", "/usr/bin", "/var/lib", "/etc/systemd/system", "/sys/fs/cgroup", "/opt"} {
		if err := os.MkdirAll(b.m.Path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *fakeBox) write(name, text string, mode fs.FileMode) {
	b.t.Helper()
	at := b.m.Path(name)
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(at, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fakeBox) read(name string) string {
	text, err := b.m.ReadFile(name)
	if err != nil {
		return "-"
	}
	return string(text)
}

// withK3s is a box on which K3s runs.
func (b *fakeBox) withK3s() *fakeBox {
	b.write("/usr/local/bin/k3s", "k3s", 0o755)
	b.write("/usr/local/bin/k3s-uninstall.sh", "uninstall", 0o755)
	b.write("/etc/systemd/system/k3s.service", "unit", 0o644)
	b.start()
	return b
}

// start is a start of K3s.
func (b *fakeBox) start() {
	b.starts++
	b.write(adminConfig, `{"apiVersion":"v1","kind":"Config","current-context":"default",
"clusters":[{"name":"default","cluster":{"server":"https://127.0.0.1:6443"}}],
"contexts":[{"name":"default","context":{"cluster":"default","user":"default"}}],
"users":[{"name":"default","user":{"token":"t"}}]}`, 0o600)
	user := ""
	for _, file := range []string{templateV3, templateV2} {
		if text := b.read(file); text != "-" && user == "" && (file == templateV2 || !strings.Contains(b.base, "version = 2")) {
			user = text
		}
	}
	extra := found{}
	if _, there := b.m.LookPath(servicePath, "crun"); there {
		extra["crun"] = "io.containerd.runc.v2"
	}
	if _, there := b.m.LookPath(operatorPath+":"+servicePath, runwasiShim); there {
		extra["wasmedge"] = "io.containerd.wasmedge.v1"
	}
	b.write(rendered, string(render(b.t, user, b.base, extra)), 0o600)
	if err := b.containerd(); err != nil {
		b.append(containerdLog, "containerd: failed to load TOML: "+strings.ReplaceAll(err.Error(), "\n", " ")+"\n")
		b.active = false
		return
	}
	b.append(containerdLog, `time="`+time.Now().Format(time.RFC3339Nano)+`" level=info msg="containerd successfully booted"`+"\n")
	b.active = true
	ctx := context.Background()
	create := func(err error) {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			b.t.Error(err)
		}
	}
	_, err := b.client.CoreV1().Nodes().Create(ctx, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "box"},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{BootID: bootID, MachineID: machineID},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}, metav1.CreateOptions{})
	create(err)
	for _, name := range []string{"crun", "wasmedge", "wasmtime"} {
		_, err := b.client.NodeV1().RuntimeClasses().Create(ctx, &nodev1.RuntimeClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon"}},
			Handler:    name,
		}, metav1.CreateOptions{})
		create(err)
	}
	leases := b.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "box"}, Spec: coordinationv1.LeaseSpec{RenewTime: &now}}
	if _, err := leases.Create(ctx, lease, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		_, err := leases.Update(ctx, lease, metav1.UpdateOptions{})
		create(err)
	}
}

// containerd reads its configuration.
func (b *fakeBox) containerd() error {
	files := []string{b.read(rendered)}
	if strings.Contains(files[0], "config-v3.toml.d") {
		imported, err := filepath.Glob(b.m.Path(dropIns + "/*.toml"))
		if err != nil {
			return err
		}
		for _, file := range imported {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			files = append(files, string(text))
		}
	}
	for _, text := range files {
		var config map[string]any
		if _, err := toml.Decode(text, &config); err != nil {
			return err
		}
		if strings.Contains(text, "gvisor") && b.fail == "gvisor" {
			return fmt.Errorf("no gvisor today")
		}
	}
	return nil
}

func (b *fakeBox) append(name, text string) {
	old := b.read(name)
	if old == "-" {
		old = ""
	}
	b.write(name, old+text, 0o600)
}

// exec is machine.Machine.Exec.
func (b *fakeBox) exec(_ context.Context, c machine.Command) (probe.Exit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.killAt > 0 && b.calls >= b.killAt {
		b.killed()
		return probe.Exit{}, errKilled
	}
	argv := c.Argv
	for len(argv) > 1 && (argv[0] == "env" || argv[0] == "-i" || strings.Contains(argv[0], "=")) {
		argv = argv[1:]
	}
	line := strings.Join(argv, " ")
	if b.fail != "" && strings.Contains(line, b.fail) {
		return probe.Exit{Code: 1, Stderr: []byte(b.fail + " is broken\n")}, nil
	}
	exit := probe.Exit{}
	say := func(format string, args ...any) { exit.Stdout = append(exit.Stdout, fmt.Sprintf(format, args...)...) }
	switch {
	case argv[0] == "systemctl" && strings.HasPrefix(argv[2], "dbus."):
		if !slices.Contains(b.packages, "dbus") {
			exit.Code = 5
		} else if argv[1] == "start" {
			b.write(busSocket, "", 0o666)
		} else if err := os.RemoveAll(b.m.Path(path.Dir(busSocket))); err != nil {
			return exit, err
		}
	case argv[0] == "systemctl" && argv[2] == "kubepods.slice":
	case argv[0] == "systemctl":
		switch argv[1] {
		case "is-active":
			if !b.active {
				exit.Code = 3
			}
		case "stop":
			b.active = false
		case "start", "restart":
			if b.read("/etc/systemd/system/k3s.service") == "-" {
				exit.Code, exit.Stderr = 5, []byte("Unit k3s.service not found.\n")
				break
			}
			b.start()
			if !b.active {
				exit.Code, exit.Stderr = 1, []byte("Job for k3s.service failed\n")
			}
		}
	case argv[0] == "journalctl":
	case path.Base(argv[0]) == "k3s" && argv[1] == "--version":
		say("k3s version %s (abcdef)\ngo version go1.24\n", b.k3s)
	case path.Base(argv[0]) == "crun":
		text, err := os.ReadFile(b.m.Path(argv[0]))
		if err != nil {
			return exit, err
		}
		say("crun version 1.21\n%s\n", text)
	case argv[0] == programs+"/containerd":
		say("%s", b.read(rendered)) // without merging what it imports
	case argv[0] == programs+"/ctr":
		b.ctr(argv[5:], c.Stdin, &exit)
	case argv[0] == "dpkg-query":
		for _, name := range b.packages {
			say("%s installed\n", name)
		}
	case argv[0] == "apt-get":
		b.apt(argv[1:], &exit)
	case argv[0] == "dpkg" && slices.Contains(argv, "--purge"):
		b.apt(append([]string{"purge"}, argv[slices.Index(argv, "--purge")+1:]...), &exit)
	case strings.HasSuffix(argv[0], "labctl-runtime-setup"):
		b.write(ledger.Dir+"/quirks", "", 0o644)
		b.write(ledger.Dir+"/runsc.toml", "binary_name = \"runsc\"\n", 0o644)
	case strings.Contains(argv[0], "k3s-install-"):
		b.installer(c.Argv, &exit)
	case argv[0] == "/usr/local/bin/k3s-uninstall.sh":
		b.images = nil
		b.active = false
		for _, name := range []string{"/etc/rancher/k3s", "/var/lib/rancher/k3s", "/usr/local/bin/k3s", "/usr/local/bin/k3s-uninstall.sh", "/usr/local/bin/k3s-killall.sh", "/etc/systemd/system/k3s.service"} {
			if err := os.RemoveAll(b.m.Path(name)); err != nil {
				return exit, err
			}
		}
	default:
		return exit, fmt.Errorf("%s: %w", argv[0], exec.ErrNotFound)
	}
	return exit, nil
}

func (b *fakeBox) ctr(argv []string, stdin io.Reader, exit *probe.Exit) {
	if !b.active {
		exit.Code, exit.Stderr = 1, []byte("ctr: connection refused")
		return
	}
	switch line := strings.Join(argv, " "); {
	case line == "version":
	case line == "tasks ls":
		exit.Stdout = []byte("TASK    PID    STATUS\n")
		for id, pid := range b.tasks {
			exit.Stdout = append(exit.Stdout, fmt.Sprintf("%s    %s    RUNNING\n", id, pid)...)
		}
	case strings.HasPrefix(line, "images ls"):
		for _, ref := range b.images {
			if len(argv) == 3 || argv[3] == "name=="+ref {
				exit.Stdout = append(exit.Stdout, ref+"\n"...)
			}
		}
	case strings.HasPrefix(line, "images import"):
		archive, err := io.ReadAll(stdin)
		if err != nil {
			b.t.Error(err)
		}
		for _, word := range strings.Split(string(archive), `"`) {
			if strings.HasPrefix(word, "lab.example/") && !slices.Contains(b.images, word) {
				b.images = append(b.images, word)
			}
		}
	case strings.HasPrefix(line, "images rm"):
		b.images = slices.DeleteFunc(b.images, func(ref string) bool { return ref == argv[len(argv)-1] })
	default:
		b.t.Errorf("ctr %s", line)
	}
}

// packageFiles are what packages bring to PATH.
var packageFiles = map[string]struct{ path, text string }{
	"crun":  {"/usr/bin/crun", "+SYSTEMD +WASM:wasmedge"},
	"runsc": {"/usr/bin/runsc", "runsc"},
}

func (b *fakeBox) apt(argv []string, exit *probe.Exit) {
	simulate, verb := false, ""
	var names []string
	for i := 0; i < len(argv); i++ {
		switch a := argv[i]; {
		case a == "--option":
			i++
		case a == "--simulate":
			simulate = true
		case strings.HasPrefix(a, "-"):
		case verb == "":
			verb = a
		default:
			names = append(names, a)
		}
	}
	if verb == "install" && slices.Contains(names, "crun") {
		names = append(names, "libyajl2")
	}
	for _, name := range names {
		there := slices.Contains(b.packages, name)
		switch {
		case verb == "install" && !there && simulate:
			exit.Stdout = append(exit.Stdout, fmt.Sprintf("Inst %s (1.0 Debian:13/stable [amd64])\n", name)...)
		case verb == "purge" && there && simulate:
			exit.Stdout = append(exit.Stdout, fmt.Sprintf("Purg %s [1.0]\n", name)...)
		case verb == "install" && !there:
			b.packages = append(b.packages, name)
			if f, ok := packageFiles[name]; ok {
				b.write(f.path, f.text, 0o755)
			}
		case verb == "purge":
			b.packages = slices.DeleteFunc(b.packages, func(p string) bool { return p == name })
			if f, ok := packageFiles[name]; ok {
				_ = os.Remove(b.m.Path(f.path)) // killed in between
			}
		}
	}
}

// installer is K3s's; binary and start are as its environment says.
func (b *fakeBox) installer(argv []string, exit *probe.Exit) {
	if !slices.Contains(argv, "INSTALL_K3S_SKIP_DOWNLOAD=true") {
		b.write("/usr/local/bin/k3s", "k3s", 0o755)
	}
	if b.fail == "midway" {
		return
	}
	b.write("/usr/local/bin/k3s-killall.sh", "killall", 0o755)
	b.write("/usr/local/bin/k3s-uninstall.sh", "uninstall", 0o755)
	there := b.read("/etc/systemd/system/k3s.service")
	b.write("/etc/systemd/system/k3s.service", "unit", 0o644)
	switch {
	case b.fail == "enable":
		exit.Code, exit.Stderr = 1, []byte("enable failed\n")
	case there == "-": // nothing is started if nothing changed
		b.start()
	}
}

var errKilled = fmt.Errorf("killed")

// provider is one for the box.
func (b *fakeBox) provider(change ...func(*Options)) *Provider {
	b.t.Helper()
	shims := b.t.TempDir()
	if err := os.WriteFile(filepath.Join(shims, runscShim), []byte("shim"), 0o755); err != nil {
		b.t.Fatal(err)
	}
	o := Options{
		Machine:     b.m,
		StateDir:    b.t.TempDir(),
		Shim:        func(context.Context, progress.Log) (string, error) { return shims, nil },
		ProbeImages: map[string]string{"runc": "lab.example/labprobe:1", "gvisor": "lab.example/labprobe:1", "wasmedge": "lab.example/labprobe-wasm:1"},
	}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		b.t.Fatal(err)
	}
	p.newClient = func(*rest.Config) (kubernetes.Interface, error) { return b.client, nil }
	p.times = times{answer: time.Second, back: 5 * time.Second, room: time.Second, poll: 5 * time.Millisecond}
	return p
}

// withInstaller is a K3s to install, from files.
func (b *fakeBox) withInstaller(o *Options) {
	dir := b.t.TempDir()
	o.Installer, o.Binary = filepath.Join(dir, "install.sh"), filepath.Join(dir, "k3s")
	for file, text := range map[string]string{o.Installer: "#!/bin/sh\n", o.Binary: "k3s"} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("k3s"))
	o.BinarySHA256 = hex.EncodeToString(sum[:])
}

// snapshot is every file with its mode and content, but for what K3s itself
// writes, and the packages and images.
func (b *fakeBox) snapshot() string {
	b.t.Helper()
	var s bytes.Buffer
	err := filepath.WalkDir(b.m.Root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(file, b.m.Root)
		if name == containerdLog {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := []byte(nil)
		if !d.IsDir() {
			if text, err = os.ReadFile(file); err != nil {
				return err
			}
		}
		fmt.Fprintf(&s, "%s %s %q\n", name, info.Mode(), text)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	packages, images := slices.Sorted(slices.Values(b.packages)), slices.Sorted(slices.Values(b.images))
	fmt.Fprintf(&s, "packages %q\nimages %q\n", packages, images)
	classes, err := b.client.NodeV1().RuntimeClasses().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.active {
		for _, c := range classes.Items {
			fmt.Fprintf(&s, "class %s %s %v\n", c.Name, c.Handler, c.Labels)
		}
	}
	return s.String()
}
