// Package lifecycle brings a lab up and takes it down: it joins the provider,
// the node image, the runtime classes and labprobe's images into one step
// that converges however often it is run or interrupted.
package lifecycle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/probeimage"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/k3s"
	"github.com/isolation-stack/labctl/pkg/provision/kubeconfig"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Options say how a lab is provisioned. What is said of another provider than
// the chosen one is ignored.
type Options struct {
	// Provider is one of Providers; "" is Kind.
	Provider string
	// StateDir is labctl's folder for state; "" is engine.DefaultStateDir.
	StateDir string
	// Engine, NodeImage and APIServerPort (on 127.0.0.1; 0 takes a free one)
	// are for Kind. DebianMirror and GVisorDir of NodeImage are for K3s as well.
	Engine        engine.Options
	NodeImage     nodeimage.Options
	APIServerPort int32
	// K3s is for K3s. New fills in what isn't the user's to say.
	K3s k3s.Options
	// Kubeconfig is for Kubeconfig. New fills in what isn't the user's to say.
	Kubeconfig kubeconfig.Options
}

// Labs provisions labs with one provider.
type Labs struct {
	provision.Provider
	// MakesNodes says that the provider makes as many nodes as are wanted.
	MakesNodes bool

	images []*probeimage.Image
	// apply makes the RuntimeClasses.
	apply func(ctx context.Context, client kubernetes.Interface, classes map[string]string) error
	plan  func(ctx context.Context, spec provision.ClusterSpec) (Plan, error)
}

// Plan is what Up would do: text for people, JSON for machines.
type Plan interface{ String() string }

// New joins the parts; it does nothing yet. An error is a labctl that was
// built without its payload, or options that the provider refuses.
func New(o Options) (*Labs, error) {
	program, err := payload.Labprobe()
	if err != nil {
		return nil, err
	}
	module, err := payload.LabprobeWasm()
	if err != nil {
		return nil, err
	}
	native, err := probeimage.Native(program, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	wasm, err := probeimage.Wasm(module, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	if o.StateDir == "" {
		if o.StateDir, err = engine.DefaultStateDir(); err != nil {
			return nil, err
		}
	}
	labs, err := choose(o, probes{
		images: map[string]string{runtimes.Runc: native.Ref, runtimes.GVisor: native.Ref, runtimes.WasmEdge: wasm.Ref},
		equip:  func(p probe.Place) probe.Place { return node.Equip(p, program, module) },
	})
	if err != nil {
		return nil, err
	}
	labs.images = []*probeimage.Image{native, wasm}
	return labs, nil
}

// Plan says what Up would do. A provider that has no plan is an error.
func (l *Labs) Plan(ctx context.Context, spec provision.ClusterSpec) (Plan, error) {
	if l.plan == nil {
		return nil, fmt.Errorf("the provider %s has no plan to show", l.Name())
	}
	return l.plan(ctx, spec)
}

// Up brings the cluster up and returns when a Pod of each runtime class has
// proved what it runs on.
func (l *Labs) Up(ctx context.Context, spec provision.ClusterSpec, log progress.Log) (provision.Cluster, error) {
	cluster, err := l.Provider.Up(ctx, spec, log)
	if err != nil {
		return nil, err
	}
	if err := l.ready(ctx, cluster, spec.RuntimeClasses, log); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", spec.Name, err)
	}
	return cluster, nil
}

func (l *Labs) ready(ctx context.Context, cluster provision.Cluster, classes map[string]string, log progress.Log) error {
	step := log.Start("Loading labprobe, making the runtime classes")
	err := l.prepare(ctx, cluster, classes)
	step.End(err)
	if err != nil {
		return err
	}
	return runtimes.Prove(ctx, cluster, classes, log)
}

// prepare does what comes before the proof; it needs no node that is Ready.
func (l *Labs) prepare(ctx context.Context, cluster provision.Cluster, classes map[string]string) error {
	client, err := kubernetes.NewForConfig(cluster.RESTConfig())
	if err != nil {
		return fmt.Errorf("client for the cluster: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Load(ctx, cluster) })
	g.Go(func() error { return l.apply(ctx, client, classes) })
	return g.Wait()
}

// Load sees that every node has labprobe's images: those of this labctl,
// which may be another than the one that brought the cluster up.
func (l *Labs) Load(ctx context.Context, cluster provision.Cluster) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, image := range l.images {
		g.Go(func() error {
			if there, err := cluster.HasImage(ctx, image.Ref); err != nil || there {
				return err
			}
			return cluster.LoadImages(ctx, func() (io.ReadCloser, error) {
				var b bytes.Buffer
				_, err := image.WriteTo(&b)
				return io.NopCloser(&b), err
			})
		})
	}
	return g.Wait()
}
