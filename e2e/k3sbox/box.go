//go:build e2e

package k3sbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// Options say what box to start.
type Options struct {
	// Name is that of the container, its network and its volume, and the
	// box's host name; "" is k3sbox- and six random digits.
	Name string
	// Generation is that of the stand-in that Deliver copies; "" is DropIn.
	Generation string
	// DataSize mounts a tmpfs of this size (tmpfs(5)) on /var/lib/rancher, so
	// that a test can fill the disk; it doesn't outlive a PowerCut. "" has the
	// folder on the volume, like all of /var.
	DataSize string
}

// Box is a plain Debian machine in a privileged container: systemd is PID 1,
// /var lies on a volume, no port is published, nothing of Kubernetes is there.
type Box struct {
	Name       string
	generation string
	engine     *engine.Engine
}

// chosen is the engine, tried once a test program.
var chosen = sync.OnceValues(func() (*engine.Engine, error) {
	return engine.Choose(context.Background(), engine.Options{}, progress.Discard)
})

// cleanup is how long the removal of a box may take.
const cleanup = 2 * time.Minute

// Start starts a box and waits until systemd has booted. The test removes it
// at its end; with K3SBOX_KEEP set, boxes stay for a look at them.
func Start(t testing.TB, o Options) *Box {
	t.Helper()
	ctx := context.Background()
	e, err := chosen()
	if err != nil {
		t.Fatal(err)
	}
	image, err := ensureImage(ctx, e)
	if err != nil {
		t.Fatalf("image of the box: %v", err)
	}
	if o.Name == "" {
		id := make([]byte, 3)
		_, _ = rand.Read(id) // never fails (crypto/rand)
		o.Name = "k3sbox-" + hex.EncodeToString(id)
	}
	b := &Box{Name: o.Name, generation: o.Generation, engine: e}
	if os.Getenv("K3SBOX_KEEP") == "" {
		t.Cleanup(func() {
			if err := b.remove(); err != nil {
				t.Errorf("remove box %s: %v", b.Name, err)
			}
		})
	}
	if _, err := e.Run(ctx, "network", "create", b.Name); err != nil {
		t.Fatal(err)
	}
	argv := []string{"run", "--detach", "--privileged", "--name", b.Name, "--hostname", b.Name,
		"--network", b.Name, "--volume", b.Name + ":/var:suid,exec,dev", "--tmpfs", "/run", "--tmpfs", "/tmp",
		"--volume", "/lib/modules:/lib/modules:ro"}
	if e.Name != engine.Nerdctl {
		argv = append(argv, "--cgroupns=private")
	}
	if o.DataSize != "" {
		argv = append(argv, "--tmpfs", "/var/lib/rancher:exec,dev,suid,size="+o.DataSize)
	}
	if _, err := e.Run(ctx, append(argv, image)...); err != nil {
		t.Fatal(err)
	}
	if err := b.awaitBoot(ctx); err != nil {
		t.Fatal(err)
	}
	return b
}

// remove removes what Start made; what isn't there is no error.
func (b *Box) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	for _, argv := range [][]string{{"rm", "--force", "--volumes", b.Name}, {"volume", "rm", "--force", b.Name}, {"network", "rm", "--force", b.Name}} {
		if _, err := b.engine.Run(ctx, argv...); err != nil && !strings.Contains(strings.ToLower(err.Error()), "no such") && !strings.Contains(err.Error(), "not found") {
			return err
		}
	}
	return nil
}

// awaitBoot waits until systemd has nothing left to start. Units that fail in
// a container (degraded) don't matter.
func (b *Box) awaitBoot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := b.Run(ctx, "systemctl", "is-system-running", "--wait")
		switch state := strings.TrimSpace(string(r.Stdout)); state {
		case "running", "degraded":
			return nil
		}
		if ctx.Err() != nil {
			logs, _ := b.engine.Run(context.WithoutCancel(ctx), "logs", b.Name)
			return fmt.Errorf("box %s did not boot: %w\n%s%s", b.Name, err, logs.Stdout, logs.Stderr)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// Command is a program in the box, as root, ready for process.Run.
func (b *Box) Command(argv ...string) process.Command {
	return b.engine.Command(append([]string{"exec", "--interactive", b.Name}, argv...)...)
}

// Run runs a program in the box and waits. A non-zero exit code is a
// *process.Error.
func (b *Box) Run(ctx context.Context, argv ...string) (process.Result, error) {
	return process.Run(ctx, b.Command(argv...))
}

// Sh runs a shell script in the box, with set -eu.
func (b *Box) Sh(ctx context.Context, script string, args ...string) (process.Result, error) {
	return b.Run(ctx, append([]string{"sh", "-euc", script, "sh"}, args...)...)
}

// Must runs a program in the box and returns its output; a failure ends the
// test.
func (b *Box) Must(t testing.TB, argv ...string) string {
	t.Helper()
	r, err := b.Run(t.Context(), argv...)
	if err != nil {
		t.Fatalf("box %s: %v", b.Name, err)
	}
	return string(r.Stdout)
}

// Copy copies a file or a folder of this machine to a path in the box, whose
// parent is made.
func (b *Box) Copy(ctx context.Context, hostPath, boxPath string) error {
	if _, err := b.Run(ctx, "mkdir", "-p", path.Dir(boxPath)); err != nil {
		return err
	}
	_, err := b.engine.Run(ctx, "cp", hostPath, b.Name+":"+boxPath)
	return err
}

// Write writes a file in the box; its parent is made.
func (b *Box) Write(ctx context.Context, file string, mode fs.FileMode, content []byte) error {
	cmd := b.Command("sh", "-euc", `mkdir -p "$(dirname "$1")"; cat >"$1"; chmod "$2" "$1"`, "sh", file, fmt.Sprintf("%o", mode.Perm()))
	cmd.Stdin = bytes.NewReader(content)
	_, err := process.Run(ctx, cmd)
	return err
}

// Read reads a file of the box.
func (b *Box) Read(ctx context.Context, file string) ([]byte, error) {
	r, err := b.Run(ctx, "cat", file)
	return r.Stdout, err
}

// Folder is where Deliver puts the files that K3s is installed from.
const Folder = "/opt/k3s-files"

// Deliver copies what K3s is installed from (Prepare) into the box and returns
// the paths there: Folder/k3s, Folder/install.sh and, below Folder, the images
// by their own name, whose ending says how they are packed.
func (b *Box) Deliver(t testing.TB) Files {
	t.Helper()
	f := Prepare(t, b.generation)
	in := Files{Binary: Folder + "/k3s", Installer: Folder + "/install.sh", Images: Folder + "/" + filepath.Base(f.Images), Real: f.Real}
	if f.Images == "" {
		in.Images = ""
	}
	for from, to := range map[string]string{f.Binary: in.Binary, f.Installer: in.Installer, f.Images: in.Images} {
		if from == "" {
			continue
		}
		if err := b.Copy(t.Context(), from, to); err != nil {
			t.Fatal(err)
		}
	}
	b.Must(t, "chmod", "755", in.Binary, in.Installer)
	return in
}

// installed puts the binary and the images in their places. On cgroup v1 it
// adds the setting without which K3s 1.35 and later don't run there.
const installed = `install -m 755 "$1" /usr/local/bin/k3s
if [ -n "$2" ]; then
	mkdir -p /var/lib/rancher/k3s/agent/images
	cp "$2" /var/lib/rancher/k3s/agent/images/
fi
minor=$(k3s --version | sed -n 's/^k3s version v1\.\([0-9]*\).*/\1/p')
if [ "$minor" -ge 35 ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then
	mkdir -p /etc/rancher/k3s/config.yaml.d
	printf 'kubelet-arg+:\n- fail-cgroupv1=false\n' >/etc/rancher/k3s/config.yaml.d/00-cgroup-v1.yaml
fi`

// Install installs K3s from the delivered files as an air-gapped machine
// does: the binary and the images in place, then the installer with these
// variables (NAME=VALUE) and arguments. It returns what the installer said.
func (b *Box) Install(t testing.TB, f Files, env []string, args ...string) string {
	t.Helper()
	ctx := t.Context()
	if _, err := b.Sh(ctx, installed, f.Binary, f.Images); err != nil {
		t.Fatal(err)
	}
	argv := append([]string{"env", "INSTALL_K3S_SKIP_DOWNLOAD=true", "INSTALL_K3S_SKIP_SELINUX_RPM=true"}, env...)
	r, err := b.Run(ctx, append(append(argv, "sh", f.Installer), args...)...)
	if err != nil {
		t.Fatalf("installer: %v\n%s\n%s", err, r.Stdout, b.Journal(ctx))
	}
	return string(r.Stdout) + string(r.Stderr)
}

// Journal is what K3s itself said of its parts and the end of what all of them
// logged, for errors: when one part ends, the others log a great deal.
func (b *Box) Journal(ctx context.Context) string {
	const journal = "journalctl --unit 'k3s*' --no-pager --output cat"
	r, err := b.Sh(ctx, journal+" | grep '^time=' | grep -v 'msg=\"Running ' | tail -n 20; "+journal+" --lines 60")
	if err != nil {
		return err.Error()
	}
	return string(r.Stdout)
}

// AwaitNode waits until the box's node is Ready.
func (b *Box) AwaitNode(t testing.TB) {
	t.Helper()
	b.Await(t, "node is not Ready", 3*time.Minute, "k3s", "kubectl", "wait", "--for=condition=Ready", "node", "--all", "--timeout=5s")
}

// Await repeats a program in the box until it succeeds.
func (b *Box) Await(t testing.TB, what string, limit time.Duration, argv ...string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(500 * time.Millisecond) {
		_, err := b.Run(t.Context(), argv...)
		if err == nil {
			return
		}
		if time.Since(start) > limit {
			t.Fatalf("%s: %v\n%s", what, err, b.Journal(t.Context()))
		}
	}
}

// PowerCut kills everything in the box at once and boots it again. The disk
// stays as it was; /run and /tmp are empty, as after a reboot.
func (b *Box) PowerCut(ctx context.Context) error {
	if _, err := b.engine.Run(ctx, "kill", "--signal", "KILL", b.Name); err != nil {
		return err
	}
	if _, err := b.engine.Run(ctx, "wait", b.Name); err != nil {
		return err
	}
	if _, err := b.engine.Run(ctx, "start", b.Name); err != nil {
		return err
	}
	return b.awaitBoot(ctx)
}

// UseApt gives the box's apt the archive and the proxies of this machine's.
// Its network has to reach them.
func (b *Box) UseApt(ctx context.Context) error {
	cache, err := artifact.Default()
	if err != nil {
		return err
	}
	pins, err := images.ReadPins()
	if err != nil {
		return err
	}
	apt, err := openApt(ctx, cache, pins.Debian.Suite)
	if err != nil {
		return err
	}
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg" // of the box
	for file, content := range map[string]string{
		"/etc/apt/sources.list":      strings.Join(apt.Sources(keyring), "\n") + "\n",
		"/etc/apt/apt.conf.d/00host": strings.Join(apt.Acquire(), "\n") + "\n",
	} {
		if err := b.Write(ctx, file, 0o644, []byte(content)); err != nil {
			return err
		}
	}
	return nil
}
