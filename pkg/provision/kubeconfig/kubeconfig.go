// Package kubeconfig uses a cluster that is there, by the context of a
// kubeconfig. It adds RuntimeClasses that are missing and takes away what
// labctl made; the kubeconfig itself is only read. A node can be looked into
// where it is the machine that labctl runs on.
package kubeconfig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/registry"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Options say which cluster to use and how.
type Options struct {
	// Path is the kubeconfig; "" is by kubectl's rules.
	Path string
	// Context is the context's name; "" is the one that Up used before, else
	// the current one.
	Context string
	// Registry is HOST/PATH that labprobe's images are pushed to and that the
	// nodes pull from; "" loads them into the nodes' containerd, which needs
	// every node to be this machine.
	Registry string
	// StateDir is labctl's folder for state.
	StateDir string
	// Machine is the one that labctl runs on, which may be a node.
	Machine machine.Machine
	// ProbeImages maps a runtime to the image of labprobe that probes use.
	ProbeImages map[string]string
	// Equip puts labprobe on a node before its first use; may be nil.
	Equip func(probe.Place) probe.Place
}

// Provider is the provision.Provider for clusters that are there.
type Provider struct {
	o Options
	// dial makes the client; tests give another one.
	dial func(*rest.Config) (kubernetes.Interface, error)
}

var _ provision.Provider = (*Provider)(nil)

// New returns the provider; it does nothing yet.
func New(o Options) (*Provider, error) {
	if o.StateDir == "" {
		return nil, errors.New("kubeconfig: no folder for state")
	}
	if o.Registry != "" {
		if _, err := registry.Repository(o.Registry); err != nil {
			return nil, err
		}
	}
	return &Provider{o: o, dial: func(c *rest.Config) (kubernetes.Interface, error) { return kubernetes.NewForConfig(c) }}, nil
}

// Name is kubeconfig.
func (p *Provider) Name() string { return "kubeconfig" }

// Up finds the cluster and its nodes and remembers them; the RuntimeClasses
// and images that it lacks are for the caller to add.
func (p *Provider) Up(ctx context.Context, spec provision.ClusterSpec, log progress.Log) (_ provision.Cluster, err error) {
	unlock, err := p.lock(spec.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := p.recall(spec.Name)
	if err != nil {
		return nil, err
	}
	step := log.Start("Looking at the cluster")
	c, plan, err := p.look(ctx, spec, old)
	step.End(err)
	if err != nil {
		return nil, err
	}
	if err := plan.refusal(); err != nil {
		return nil, err
	}
	for _, o := range plan.Objects {
		if o.Action == use {
			log.Info("%s %s is there already and is used: %s", o.Kind, o.Name, o.Why)
		}
	}
	for _, n := range plan.Nodes {
		if !n.Here {
			log.Info("Node %s is another machine (%s): what only a node shows is untestable there", n.Name, n.Why)
		}
	}
	// What labctl is about to make is on disk before it is made, so that down
	// finds it whatever happens.
	r := record{Path: c.path, Context: c.context, Cluster: c.uid, Registry: p.registry(old), Classes: c.classes, Made: old.Made}
	for _, o := range plan.Objects {
		if o.Action == create {
			r.made(o.Name)
		}
	}
	if err := p.remember(spec.Name, r); err != nil {
		return nil, err
	}
	return c, nil
}

// Plan says what Up and its caller would do to the cluster.
func (p *Provider) Plan(ctx context.Context, spec provision.ClusterSpec) (Plan, error) {
	old, err := p.recall(spec.Name)
	if err != nil {
		return Plan{}, err
	}
	_, plan, err := p.look(ctx, spec, old)
	return plan, err
}

// Get implements provision.Provider: the cluster that Up remembered.
func (p *Provider) Get(ctx context.Context, name string) (provision.Cluster, error) {
	old, err := p.recall(name)
	if err != nil {
		return nil, err
	}
	if old.Context == "" {
		return nil, fmt.Errorf("cluster %s: %w; labctl up --provider kubeconfig makes it known", name, provision.ErrNotFound)
	}
	c, err := p.connect(ctx, name, old)
	if err != nil {
		return nil, err
	}
	c.classes = old.Classes
	return c, nil
}

// look connects and compares what is there with what is wanted.
func (p *Provider) look(ctx context.Context, spec provision.ClusterSpec, old record) (*Cluster, Plan, error) {
	c, err := p.connect(ctx, spec.Name, old)
	if err != nil {
		return nil, Plan{}, err
	}
	c.classes = spec.RuntimeClasses
	if c.classes == nil {
		c.classes = map[string]string{}
		for _, r := range runtimes.Names {
			c.classes[r] = r
		}
	}
	plan, err := c.plan(ctx)
	return c, plan, err
}

// lock keeps two labctl off one cluster's record.
func (p *Provider) lock(name string) (unlock func(), err error) {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return nil, fmt.Errorf("cluster name %q: %s", name, problems[0])
	}
	dir := filepath.Join(p.o.StateDir, "clusters")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("labctl's state folder: %w; set XDG_STATE_HOME to a folder that can be written", err)
	}
	path := filepath.Join(dir, name+".kubeconfig.lock")
	release, err := filelock.TryLock(path)
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("another labctl is at work on cluster %s: %w; wait for it, or use another --name", name, err)
	}
	if err != nil {
		return nil, err
	}
	return func() {
		_ = os.Remove(path) // an empty file that stays is no harm
		release()
	}, nil
}
