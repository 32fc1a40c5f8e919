package nodeimage

import (
	"context"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

// programs gives the modules in the order in which they are built.
func programs(s gomodule.Sources) ([]gomodule.Program, error) {
	k8s, err := s.Version("kubernetes", "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	containerd, err := s.Version("containerd", "github.com/containerd/containerd/v2")
	if err != nil {
		return nil, err
	}
	etcd, err := s.Version("etcd", "go.etcd.io/etcd/server/v3")
	if err != nil {
		return nil, err
	}
	coredns, err := s.Version("coredns", "github.com/coredns/coredns")
	if err != nil {
		return nil, err
	}
	localPath, err := s.Version("local-path", "github.com/rancher/local-path-provisioner")
	if err != nil {
		return nil, err
	}
	return []gomodule.Program{
		{Module: "kubernetes", Packages: ".", Title: "Kubernetes " + k8s, Ldflags: versionFlags(k8s), Links: k8sPrograms},
		// The tags leave out what kind leaves out: snapshotters that a node
		// in a container never uses.
		{Module: "containerd", Packages: "tool", Title: "containerd " + containerd,
			Tags:    "no_aufs,no_zfs,no_btrfs,no_devmapper",
			Ldflags: []string{"-X", "github.com/containerd/containerd/v2/version.Version=" + containerd}},
		{Module: "etcd", Packages: ".", Title: "etcd " + etcd},
		{Module: "coredns", Packages: ".", Title: "CoreDNS " + coredns},
		{Module: "local-path", Packages: "tool", Title: "local-path-provisioner " + localPath},
		{Module: "pause", Packages: ".", Title: "pause"},
	}, nil
}

// Programs gives the folders with the programs that the Debian base is made
// from, by their modules below images/ (kubernetes, containerd, coredns, …);
// what the cache doesn't have is built. Named modules are all that are wanted,
// else all. It needs no container engine.
func Programs(ctx context.Context, o Options, log progress.Log, modules ...string) (map[string]string, error) {
	b, err := newBuilder(nil, o, log)
	if err != nil {
		return nil, err
	}
	return b.programs(ctx, modules...)
}

// Parts are the artifacts that are compiled for nodes, and for the API servers
// of older minor versions.
func Parts(o Options, log progress.Log) ([]gomodule.Part, error) {
	b, err := newBuilder(nil, o, log)
	if err != nil {
		return nil, err
	}
	list, err := programs(b.src)
	if err != nil {
		return nil, err
	}
	var parts []gomodule.Part
	for _, p := range list {
		parts = append(parts, b.builder().Part(p))
	}
	servers, err := APIServers()
	if err != nil {
		return nil, err
	}
	for _, a := range servers {
		if a.module != nodeModule {
			parts = append(parts, a.part(b))
		}
	}
	return parts, nil
}

func (b *builder) programs(ctx context.Context, modules ...string) (map[string]string, error) {
	list, err := programs(b.src)
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, p := range list {
		if len(modules) > 0 && !slices.Contains(modules, p.Module) {
			continue
		}
		if dirs[p.Module], err = b.builder().Build(ctx, p); err != nil {
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

// builder builds the programs.
func (b *builder) builder() gomodule.Builder {
	return gomodule.Builder{Cache: b.cache, Sources: b.src, Log: b.log}
}
