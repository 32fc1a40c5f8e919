package lifecycle

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/debian"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/k3s"
	"github.com/isolation-stack/labctl/pkg/provision/kind"
	"github.com/isolation-stack/labctl/pkg/provision/kubeconfig"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// The providers.
const (
	// Kind makes a cluster whose nodes are containers.
	Kind = "kind"
	// K3s makes this machine a K3s node, or uses the K3s that is there.
	K3s = "k3s"
	// Kubeconfig uses the cluster of a kubeconfig's context.
	Kubeconfig = "kubeconfig"
)

// Providers lists them, the default first.
func Providers() []string { return []string{Kind, K3s, Kubeconfig} }

// probes is what every provider gives to its clusters: labprobe's images by
// runtime, and labprobe on the nodes.
type probes struct {
	images map[string]string
	equip  func(probe.Place) probe.Place
}

// choose makes the provider; it is the only place that knows them by name.
func choose(o Options, with probes) (*Labs, error) {
	switch o.Provider {
	case Kind, "":
		labs := &Labs{MakesNodes: true, apply: runtimes.Apply}
		var err error
		labs.Provider, err = kind.New(kind.Options{
			Engine:        o.Engine,
			StateDir:      o.StateDir,
			APIServerPort: o.APIServerPort,
			NodeImage: func(ctx context.Context, e *engine.Engine, log progress.Log) (string, error) {
				img, err := nodeimage.Ensure(ctx, e, o.NodeImage, log)
				return img.Reference, err
			},
			ProbeImages: with.images,
			Equip:       with.equip,
			Prepare: func(ctx context.Context, c provision.Cluster, spec provision.ClusterSpec) {
				_ = labs.prepare(ctx, c, spec.RuntimeClasses) // Up does it again
			},
		})
		return labs, err
	case K3s:
		ko := o.K3s
		ko.StateDir, ko.ProbeImages, ko.Equip = o.StateDir, with.images, with.equip
		ko.Shim = func(ctx context.Context, log progress.Log) (string, error) { return shim(ctx, o.NodeImage, log) }
		p, err := k3s.New(ko)
		return &Labs{
			Provider: p, apply: runtimes.Apply,
			plan: func(ctx context.Context, spec provision.ClusterSpec) (Plan, error) { return p.Plan(ctx, spec) },
		}, err
	case Kubeconfig:
		ko := o.Kubeconfig
		ko.StateDir, ko.ProbeImages, ko.Equip = o.StateDir, with.images, with.equip
		p, err := kubeconfig.New(ko)
		return &Labs{
			Provider: p, apply: kubeconfig.Apply,
			plan: func(ctx context.Context, spec provision.ClusterSpec) (Plan, error) { return p.Plan(ctx, spec) },
		}, err
	}
	return nil, fmt.Errorf("unknown provider %q; known: %s", o.Provider, strings.Join(Providers(), ", "))
}

// shim makes gVisor's containerd shim, as the node image does; what is in the
// cache is used by both.
func shim(ctx context.Context, o nodeimage.Options, log progress.Log) (string, error) {
	cache := artifact.Cache{Dir: o.CacheDir}
	if o.CacheDir == "" {
		var err error
		if cache, err = artifact.Default(); err != nil {
			return "", err
		}
	}
	return runtimes.Shim(ctx, cache, sources{cache, o.DebianMirror, log}, runtimes.ShimOptions{GVisorDir: o.GVisorDir}, log)
}

// sources opens an apt of labctl's own when a source package is really wanted.
type sources struct {
	cache  artifact.Cache
	mirror string
	log    progress.Log
}

func (s sources) Source(ctx context.Context, dir, name string) ([]string, error) {
	apt, err := openApt(ctx, s.cache, s.mirror, s.log)
	if err != nil {
		return nil, err
	}
	return apt.Source(ctx, dir, name)
}

// openApt opens labctl's own apt for the Debian release that is pinned.
func openApt(ctx context.Context, cache artifact.Cache, mirror string, log progress.Log) (*debian.Apt, error) {
	pins, err := images.ReadPins()
	if err != nil {
		return nil, fmt.Errorf("images/pins.yaml: %w", err)
	}
	return debian.Open(ctx, debian.Options{
		Dir: filepath.Join(cache.Dir, "apt"), Suite: pins.Debian.Suite, Mirror: mirror, Log: log.Output(),
	})
}
