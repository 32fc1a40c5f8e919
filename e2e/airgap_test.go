//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/e2e/k3sbox"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// airgap is where the bundle lies in the box.
const airgap = k3sbox.Folder + "/bundle"

// TestK3sAirgap makes a bundle on this machine and a node from it in a box
// without a network, without apt sources, and without a cache.
func TestK3sAirgap(t *testing.T) {
	ctx := t.Context()
	files := k3sbox.Prepare(t, "")
	dir := filepath.Join(t.TempDir(), "bundle")
	args := []string{"bundle", "k3s", "--output", dir, "--installer", files.Installer, "--k3s-binary", files.Binary}
	if files.Images != "" {
		args = append(args, "--images", files.Images)
	}
	for range 2 { // the second time it is made anew in its place
		if r := labctl(ctx, args...); r.code != 0 {
			t.Fatalf("labctl %q: exit code %d\n%s", args, r.code, r.stderr)
		}
	}
	b := &k3sBox{Box: k3sbox.Start(t, k3sbox.Options{})}
	for from, to := range map[string]string{suite.binary: boxLabctl, dir: airgap} {
		if err := b.Copy(ctx, from, to); err != nil {
			t.Fatal(err)
		}
	}
	// K3s wants a default route, so there is one that leads nowhere
	// (https://docs.k3s.io/installation/airgap#default-network-route).
	b.Must(t, "sh", "-ec", `device=$(ip -o route show default | sed 's/.* dev \([^ ]*\).*/\1/')
ip route replace default dev "$device"
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*`)
	before := b.snapshot(t)

	up := []string{"up", "--provider", "k3s", "--airgap", airgap}
	t.Run("damaged", func(t *testing.T) {
		damaged := airgap + "-damaged"
		b.Must(t, "sh", "-ec", `cp -a "$1" "$2"; cd "$2"; truncate -s 100 packages/crun_*.deb; for script in k3s-install-*.sh; do echo >>"$script"; done; rm programs/*; : > packages/more.deb`, "sh", airgap, damaged)
		b.fails(t, []string{"crun_", "it has 100 bytes", ".sh: it has ", "containerd-shim-runsc-v1: it is missing", "packages/more.deb: it isn't in bundle.yaml"},
			"up", "--provider", "k3s", "--airgap", damaged)
		b.Must(t, "rm", "-r", damaged)
		b.leaves(t, before, k3sOwn...)
	})
	plan := b.must(t, append(up, "--dry-run")...)
	for _, want := range []string{airgap, "crun", "libwasmedge0", "runsc"} {
		if !strings.Contains(plan.stdout, want) {
			t.Errorf("the plan doesn't name %s:\n%s", want, plan.stdout)
		}
	}
	b.leaves(t, before, k3sOwn...)
	packages := b.Must(t, "dpkg-query", "--show")
	b.must(t, up...)
	b.must(t, up...)
	classes := b.Must(t, "k3s", "kubectl", "--cache-dir=/tmp/kubectl", "get", "runtimeclass", "--output=name")
	for _, r := range runtimes.Names {
		if !strings.Contains(classes, "/"+r+"\n") {
			t.Errorf("no RuntimeClass %s among\n%s", r, classes)
		}
	}
	b.must(t, "down", "--provider", "k3s")
	if now := b.Must(t, "dpkg-query", "--show"); now != packages {
		t.Errorf("packages before:\n%s\nand after:\n%s", packages, now)
	}
	b.leaves(t, before, k3sLeaves...)
}
