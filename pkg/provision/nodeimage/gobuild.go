package nodeimage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// program is a Go module below images/ and how it is built.
type program struct {
	module   string
	packages string // what to build, as for go build
	ldflags  []string
	tags     string
	links    []string // other names of the binary
	title    string
}

// programs gives the modules in the order in which they are built.
func (s sources) programs() ([]program, error) {
	k8s, err := s.version("kubernetes", "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	containerd, err := s.version("containerd", "github.com/containerd/containerd/v2")
	if err != nil {
		return nil, err
	}
	etcd, err := s.version("etcd", "go.etcd.io/etcd/server/v3")
	if err != nil {
		return nil, err
	}
	coredns, err := s.version("coredns", "github.com/coredns/coredns")
	if err != nil {
		return nil, err
	}
	localPath, err := s.version("local-path", "github.com/rancher/local-path-provisioner")
	if err != nil {
		return nil, err
	}
	return []program{
		{module: "kubernetes", packages: ".", title: "Kubernetes " + k8s, ldflags: versionFlags(k8s), links: k8sPrograms},
		// The tags leave out what kind leaves out: snapshotters that a node
		// in a container never uses.
		{module: "containerd", packages: "tool", title: "containerd " + containerd,
			tags:    "no_aufs,no_zfs,no_btrfs,no_devmapper",
			ldflags: []string{"-X", "github.com/containerd/containerd/v2/version.Version=" + containerd}},
		{module: "etcd", packages: ".", title: "etcd " + etcd},
		{module: "coredns", packages: ".", title: "CoreDNS " + coredns},
		{module: "local-path", packages: "tool", title: "local-path-provisioner " + localPath},
		{module: "pause", packages: ".", title: "pause"},
	}, nil
}

// Programs gives the folders with the programs that the Debian base is made
// from, by their modules below images/ (kubernetes, containerd, coredns, …);
// what the cache doesn't have is built. It needs no container engine.
func Programs(ctx context.Context, o Options, log progress.Log) (map[string]string, error) {
	b, err := newBuilder(nil, o, log)
	if err != nil {
		return nil, err
	}
	return b.programs(ctx)
}

func (b *builder) programs(ctx context.Context) (map[string]string, error) {
	programs, err := b.src.programs()
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, p := range programs {
		if dirs[p.module], err = b.goBuild(ctx, p); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// versionFlags set the version that Kubernetes' own build sets
// (hack/lib/version.sh): kubeadm and the API server compare it.
func versionFlags(v string) []string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(v, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	var out []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		out = append(out,
			"-X", pkg+".gitVersion="+v,
			"-X", pkg+".gitMajor="+major,
			"-X", pkg+".gitMinor="+minor,
			"-X", pkg+".gitTreeState=clean")
	}
	return out
}

// goBuild returns the folder of the program's binaries. The module's go.sum
// verifies all that is downloaded; Go's own build cache keeps what an
// interrupted build has compiled.
func (b *builder) goBuild(ctx context.Context, p program) (dir string, err error) {
	flags := []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=" + p.tags,
		"-ldflags=" + strings.Join(append([]string{"-s", "-w"}, p.ldflags...), " ")}
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOWORK=off", "GOFLAGS="}
	key := artifact.Key{Name: "go-" + p.module, Inputs: append(append([]string{}, flags...), env...)}
	for _, f := range b.src.below(p.module) {
		key.Inputs = append(key.Inputs, f.name, string(f.content))
	}
	key.Inputs = append(key.Inputs, p.links...)
	if b.cache.Has(key) {
		return b.cache.Path(key), nil
	}
	step := b.log.Start("Building " + p.title)
	defer func() { step.End(err) }()
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("the node image is built from Go modules, and there is no go on PATH: %w", err)
	}
	return b.cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		src := filepath.Join(dir, "src")
		if err := b.src.unpack(p.module, src); err != nil {
			return err
		}
		step.Update(0, 0, "downloading modules")
		list, err := process.Run(ctx, process.Command{
			Argv: []string{"go", "list", "-mod=readonly", "-tags=" + p.tags, "-deps", p.packages},
			Dir:  src, Env: env,
		})
		if err != nil {
			return err
		}
		counter := &packageCounter{step: step, total: bytes.Count(list.Stdout, []byte("\n"))}
		argv := append([]string{"go", "build", "-v", "-o", dir + "/"}, flags...)
		if _, err := process.Run(ctx, process.Command{
			Argv: append(argv, p.packages), Dir: src, Env: env, Log: io.MultiWriter(b.log.Output(), counter),
		}); err != nil {
			return err
		}
		for _, l := range p.links {
			if err := os.Symlink(p.module, filepath.Join(dir, l)); err != nil {
				return err
			}
		}
		return os.RemoveAll(src)
	})
}

// packageCounter counts the packages that go build -v names as it compiles.
type packageCounter struct {
	step        progress.Step
	done, total int
}

func (c *packageCounter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "+ ") || strings.Contains(line, " ") {
			continue
		}
		c.done++
		c.step.Update(min(c.done, c.total), c.total, line)
	}
	return len(p), nil
}
