//go:build e2e

package k3sbox

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

//go:embed init.sh
var initScript []byte

// boxPackages make a plain Debian of the node image's release, without
// anything of Kubernetes. K3s brings its own runc and CNI plug-ins.
var boxPackages = []string{
	"bash", "ca-certificates", "curl", "e2fsprogs", "iproute2", "iptables", "jq", "kmod", "libseccomp2",
	"mount", "nftables", "procps", "systemd", "systemd-sysv", "util-linux",
}

// boxFiles are what a container needs beyond the packages: units that would
// act on the kernel or the hardware, which are the host's, don't start.
func boxFiles() []layerEntry {
	files := []layerEntry{
		{path: "usr/local/sbin/k3sbox-init", content: initScript},
		{path: "etc/systemd/journald.conf.d/10-box.conf", mode: 0o644, content: []byte("[Journal]\nReadKMsg=no\nStorage=volatile\n")},
	}
	for _, unit := range []string{
		"systemd-binfmt.service", "systemd-sysctl.service", "systemd-modules-load.service", "systemd-udevd.service",
		"systemd-udev-trigger.service", "systemd-logind.service", "systemd-remount-fs.service", "systemd-firstboot.service",
		"systemd-pstore.service", "getty.target", "console-getty.service", "sys-kernel-debug.mount",
		"sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "dev-hugepages.mount",
		"dev-mqueue.mount", "proc-sys-fs-binfmt_misc.automount", "apt-daily.timer", "apt-daily-upgrade.timer",
		"dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "systemd-tmpfiles-clean.timer",
	} {
		files = append(files, layerEntry{path: "etc/systemd/system/" + unit, link: "/dev/null"})
	}
	// The backend that kind's nodes choose on an empty machine.
	for _, program := range []string{"iptables", "ip6tables"} {
		files = append(files, layerEntry{path: "etc/alternatives/" + program, link: "/usr/sbin/" + program + "-legacy"})
		for _, part := range []string{"-save", "-restore"} {
			files = append(files, layerEntry{path: "etc/alternatives/" + program + part, link: "/usr/sbin/" + program + "-legacy" + part})
		}
	}
	return files
}

// ensureImage loads the box's image into the engine unless it is there.
func ensureImage(ctx context.Context, e *engine.Engine) (string, error) {
	cache, err := artifact.Default()
	if err != nil {
		return "", err
	}
	pins, err := images.ReadPins()
	if err != nil {
		return "", err
	}
	root := artifact.Key{Name: "k3sbox-root", Inputs: append([]string{pins.Debian.Suite, runtime.GOARCH}, boxPackages...)}
	image := artifact.Key{Name: "localhost/labctl/k3sbox", Inputs: append([]string{root.ID(), "recipe 1"}, flatten(boxFiles())...)}
	ref := "localhost/labctl/k3sbox:" + strings.TrimPrefix(image.ID(), image.Name+"-")
	unlock, err := filelock.Lock(ctx, filepath.Join(cache.Dir, "k3sbox.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	r, err := e.Run(ctx, "images", "--quiet", "--filter", "reference="+ref)
	if err != nil || strings.TrimSpace(string(r.Stdout)) != "" {
		return ref, err
	}
	dir, err := cache.Ensure(ctx, root, func(ctx context.Context, dir string) error {
		apt, err := openApt(ctx, cache, pins.Debian.Suite)
		if err != nil {
			return err
		}
		return apt.Root(ctx, filepath.Join(dir, "root.tar"), boxPackages...)
	})
	if err != nil {
		return "", err
	}
	return ref, load(ctx, e, ref, filepath.Join(dir, "root.tar"))
}

func flatten(entries []layerEntry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.path, e.link, string(e.content))
	}
	return out
}

func load(ctx context.Context, e *engine.Engine, ref, root string) error {
	rootLayer, err := tarball.LayerFromFile(root, tarball.WithCompressionLevel(0))
	if err != nil {
		return err
	}
	files, err := makeLayer(boxFiles())
	if err != nil {
		return err
	}
	img, err := makeImage([]v1.Layer{rootLayer, files}, v1.Config{
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=podman"},
		Entrypoint: []string{"/usr/local/sbin/k3sbox-init"},
		StopSignal: "SIGRTMIN+3",
	})
	if err != nil {
		return err
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "k3sbox-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	archive := filepath.Join(dir, "image.tar")
	if err := tarball.WriteToFile(archive, tag, img); err != nil {
		return err
	}
	cmd := e.Command("load", "--input", archive)
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	_, err = process.Run(ctx, cmd)
	return err
}
