package nodeimage

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
	"golang.org/x/mod/semver"
)

// APIServer is a pinned kube-apiserver: that of the node image, or one of an
// older minor version (images/kubernetes-MINOR).
type APIServer struct {
	// Version is the whole one, "v1.37.2".
	Version string
	// module is the folder below images/; sources has it, unless it is the
	// node image's.
	module  string
	sources gomodule.Sources
}

// nodeModule is the module of the node image's own Kubernetes.
const nodeModule = "kubernetes"

// APIServers lists the API servers that there are: that of the node image,
// then the others, newer ones first.
func APIServers() ([]APIServer, error) {
	own, err := sources(payload.Images)
	if err != nil {
		return nil, err
	}
	others, err := sources(payload.Addons)
	if err != nil {
		return nil, err
	}
	return apiServers(own, others)
}

func sources(archive func() ([]byte, error)) (gomodule.Sources, error) {
	tar, err := archive()
	if err != nil {
		return gomodule.Sources{}, err
	}
	return gomodule.ReadSources(tar)
}

func apiServers(own, others gomodule.Sources) ([]APIServer, error) {
	first := APIServer{module: nodeModule}
	var err error
	if first.Version, err = own.Version(nodeModule, "k8s.io/kubernetes"); err != nil {
		return nil, err
	}
	var older []APIServer
	for _, f := range others.Files {
		module, file, _ := strings.Cut(f.Name, "/")
		if file != "go.mod" || !strings.HasPrefix(module, nodeModule+"-") {
			continue
		}
		a := APIServer{module: module, sources: others}
		if a.Version, err = others.Version(module, "k8s.io/kubernetes"); err != nil {
			return nil, err
		}
		older = append(older, a)
	}
	slices.SortFunc(older, func(a, b APIServer) int { return semver.Compare(b.Version, a.Version) })
	return append([]APIServer{first}, older...), nil
}

// Minor is the minor version, "1.37".
func (a APIServer) Minor() string { return strings.TrimPrefix(semver.MajorMinor(a.Version), "v") }

// Programs gives the paths of the programs kube-apiserver and etcd; what the
// cache doesn't have is built.
func (a APIServer) Programs(ctx context.Context, o Options, log progress.Log) (apiserver, etcd string, err error) {
	b, err := newBuilder(nil, o, log)
	if err != nil {
		return "", "", err
	}
	if a.module == nodeModule {
		dirs, err := b.programs(ctx, nodeModule, "etcd")
		return filepath.Join(dirs[nodeModule], "kube-apiserver"), filepath.Join(dirs["etcd"], "etcd"), err
	}
	dirs, err := b.programs(ctx, "etcd")
	if err != nil {
		return "", "", err
	}
	dir, err := a.part(b).Make(ctx)
	return filepath.Join(dir, a.module), filepath.Join(dirs["etcd"], "etcd"), err
}

// part is an older API server as an artifact.
func (a APIServer) part(b *builder) gomodule.Part {
	return gomodule.Builder{Cache: b.cache, Sources: a.sources, Log: b.log}.Part(gomodule.Program{
		Module: a.module, Packages: ".", Title: "kube-apiserver " + a.Version, Ldflags: versionFlags(a.Version),
	})
}
