package k3s

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// Provider is the provision.Provider for K3s on this machine.
type Provider struct {
	o     Options
	m     machine.Machine
	times times
	// newClient is another one in tests.
	newClient func(*rest.Config) (kubernetes.Interface, error)
}

// times are how long things may take.
type times struct {
	answer time.Duration // an API server that runs
	back   time.Duration // K3s after a start
	room   time.Duration // the kubelet after the machine was full
	poll   time.Duration
}

var _ provision.Provider = (*Provider)(nil)

// New returns the provider; it does nothing yet.
func New(o Options) (*Provider, error) {
	if o.Airgap != "" && (o.Installer != "" || o.Binary != "" || o.Version != "" || o.Channel != "" || o.RuntimeFiles != "") {
		return nil, errors.New("the air-gap folder has the installer, K3s and the runtimes: give it alone")
	}
	return &Provider{
		o: o, m: o.Machine,
		// A start takes 10 s on a laptop and minutes on a small ARM board.
		times:     times{answer: 20 * time.Second, back: 5 * time.Minute, room: 6 * time.Minute, poll: 300 * time.Millisecond},
		newClient: func(c *rest.Config) (kubernetes.Interface, error) { return kubernetes.NewForConfig(c) },
	}, nil
}

// Name is k3s.
func (p *Provider) Name() string { return "k3s" }

// contextOf is the context's name in the user's kubeconfig.
func contextOf(cluster string) string { return "k3s-" + cluster }

// Plan says what Up and its caller would do. It changes nothing.
func (p *Provider) Plan(ctx context.Context, spec provision.ClusterSpec) (Plan, error) {
	spec, err := checked(spec)
	if err != nil {
		return Plan{}, err
	}
	l, err := p.ledger(spec.Name)
	if err != nil {
		return Plan{}, err
	}
	s, err := p.parts(ctx)
	if err != nil {
		return Plan{}, err
	}
	f, err := p.look(ctx, s, l)
	if err != nil {
		return Plan{}, err
	}
	return plan(f, p.o, spec)
}

// Up implements provision.Provider: it makes the changes of the plan, phase by
// phase, and looks again after each.
func (p *Provider) Up(ctx context.Context, spec provision.ClusterSpec, log progress.Log) (provision.Cluster, error) {
	spec, err := checked(spec)
	if err != nil {
		return nil, err
	}
	unlock, err := p.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := p.ledger(spec.Name)
	if err != nil {
		return nil, err
	}
	config := kubecontext.At(spec.Kubeconfig)
	// down may run in another folder.
	if config.Path, err = filepath.Abs(config.Path); err != nil {
		return nil, err
	}
	// Check makes the file's folder, which goes into the ledger first.
	if _, err := os.Stat(filepath.Dir(config.Path)); err == nil {
		if err := config.Check(ctx, contextOf(spec.Name)); err != nil {
			return nil, err
		}
	}
	u := &up{p: p, l: l, spec: spec, log: log}
	if err := u.converge(ctx); err != nil {
		return nil, err
	}
	c, err := p.connect(ctx, spec.Name)
	if err != nil {
		return nil, err
	}
	if err := p.addContext(ctx, l, config, c); err != nil {
		return nil, err
	}
	if err := p.awaitRoom(ctx, c, log); err != nil {
		return nil, err
	}
	if c.others > 0 {
		log.Info("K3s has %d more nodes, which labctl doesn't prepare: Pods of its runtime classes run on %s alone", c.others, c.node)
	}
	c.classes = spec.RuntimeClasses
	return c, nil
}

// addContext notes in the ledger what is added to the user's kubeconfig: the
// context, and the folders that are made for the file.
func (p *Provider) addContext(ctx context.Context, l *ledger.Ledger, config kubecontext.File, c *Cluster) error {
	noted := slices.ContainsFunc(l.Entries(ledger.Kubeconfig), func(e ledger.Entry) bool { return e.Path == config.Path })
	if !noted {
		e := ledger.Entry{Kind: ledger.Kubeconfig, Path: config.Path, Names: []string{c.KubeContext()}}
		for dir := filepath.Dir(config.Path); ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			e.Names = append(e.Names, dir)
		}
		if err := l.Record(e); err != nil {
			return err
		}
	}
	return config.Add(ctx, c.KubeContext(), c.config)
}

// Get implements provision.Provider.
func (p *Provider) Get(ctx context.Context, name string) (provision.Cluster, error) {
	if p.m.Path("/") == "/" && os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	l, err := ledger.Open(p.m)
	if errors.Is(err, fs.ErrNotExist) || err == nil && l.Cluster() != name {
		return nil, fmt.Errorf("cluster %s: %w on this machine; `labctl up --provider k3s` makes it", name, provision.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	c, err := p.connect(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w; `labctl up --provider k3s` repairs it", name, err)
	}
	if c.classes, err = c.readClasses(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// ledger opens the machine's, or begins one.
func (p *Provider) ledger(name string) (*ledger.Ledger, error) {
	l, err := ledger.Open(p.m)
	if errors.Is(err, fs.ErrNotExist) {
		return ledger.New(p.m, name), nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, errNotRoot
	}
	if err != nil {
		return nil, err
	}
	if l.Cluster() != name {
		return nil, fmt.Errorf("this machine is the cluster %s already, and it is one at a time; use --name %s, or take it away with labctl down --provider k3s --name %s", l.Cluster(), l.Cluster(), l.Cluster())
	}
	return l, nil
}

// lockPath is one for the machine, whoever runs labctl; /run is empty after a
// boot.
const lockPath = "/run/labctl-k3s.lock"

// lock keeps two labctl off one machine.
func (p *Provider) lock() (unlock func(), err error) {
	free, err := filelock.TryLock(p.m.Path(lockPath))
	switch {
	case errors.Is(err, filelock.ErrHeld):
		return nil, fmt.Errorf("another labctl is at work on this machine: %w; wait for it", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, errNotRoot
	case err != nil:
		return nil, err
	}
	return p.free(free), nil
}

// free removes the lock's file, which is no harm if it stays.
func (p *Provider) free(unlock func()) func() {
	return func() {
		_ = os.Remove(p.m.Path(lockPath))
		unlock()
	}
}

// checked fills in the runtime classes.
func checked(spec provision.ClusterSpec) (provision.ClusterSpec, error) {
	if problems := validation.IsDNS1123Label(spec.Name); len(problems) > 0 {
		return spec, fmt.Errorf("cluster name %q: %s", spec.Name, strings.Join(problems, "; "))
	}
	if spec.RuntimeClasses == nil {
		spec.RuntimeClasses = map[string]string{}
		for _, name := range runtimes.Names {
			spec.RuntimeClasses[name] = name
		}
	}
	spec.RuntimeClasses = maps.Clone(spec.RuntimeClasses)
	return spec, nil
}
