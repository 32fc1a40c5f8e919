// Package kind makes lab clusters with kind (sigs.k8s.io/kind): every node is
// a container. kind itself only creates; finding, checking and removing go
// through the container engine, so that they honour contexts and touch
// nothing that labctl didn't make.
package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Options says how clusters are made.
type Options struct {
	// Engine says which container engine to take.
	Engine engine.Options
	// StateDir is labctl's folder for state, which holds the locks; "" means
	// that of Engine, else engine.DefaultStateDir.
	StateDir string
	// NodeImage returns the reference of the node image and sees that the
	// engine has it. Only Up asks.
	NodeImage func(ctx context.Context, e *engine.Engine, log progress.Log) (ref string, err error)
	// APIServerPort is the API server's port on 127.0.0.1; 0 takes a free one.
	APIServerPort int32
	// ProbeImages maps a runtime to the image of labprobe that probes use.
	ProbeImages map[string]string
	// Equip puts labprobe on a node before its first use; nil leaves nodes as
	// they are.
	Equip func(probe.Place) probe.Place
	// Prepare works on a new cluster while its nodes become Ready; the API
	// server and containerd answer. It only saves time: who calls Up does all
	// of it again and sees whether it fails. May be nil.
	Prepare func(ctx context.Context, c provision.Cluster, spec provision.ClusterSpec)
}

// Provider is the provision.Provider for kind.
type Provider struct {
	o Options

	mu     sync.Mutex
	engine *engine.Engine
}

var _ provision.Provider = (*Provider)(nil)

// New returns the provider; it does nothing yet.
func New(o Options) (*Provider, error) {
	if o.StateDir == "" {
		o.StateDir = o.Engine.StateDir
	}
	if o.StateDir == "" {
		dir, err := engine.DefaultStateDir()
		if err != nil {
			return nil, err
		}
		o.StateDir = dir
	}
	if o.Engine.StateDir == "" {
		o.Engine.StateDir = o.StateDir
	}
	return &Provider{o: o}, nil
}

// Name is kind.
func (p *Provider) Name() string { return "kind" }

// Engine is the container engine, chosen at the first call.
func (p *Provider) Engine(ctx context.Context, log progress.Log) (*engine.Engine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engine == nil {
		e, err := engine.Choose(ctx, p.o.Engine, log)
		if err != nil {
			return nil, err
		}
		p.engine = e
	}
	return p.engine, nil
}

// Up implements provision.Provider.
func (p *Provider) Up(ctx context.Context, spec provision.ClusterSpec, log progress.Log) (provision.Cluster, error) {
	if err := validate(spec); err != nil {
		return nil, err
	}
	l, err := p.lock(spec.Name)
	if err != nil {
		return nil, err
	}
	defer l.release()
	e, err := p.Engine(ctx, log)
	if err != nil {
		return nil, err
	}
	// Everything that can refuse goes before the first slow step.
	nodes, err := findNodes(ctx, e, spec.Name)
	if err != nil {
		return nil, err
	}
	if err := ours(e, spec.Name, nodes); err != nil {
		return nil, err
	}
	config := kubecontext.At(spec.Kubeconfig)
	if err := config.Check(ctx, contextOf(spec.Name)); err != nil {
		return nil, err
	}
	image, err := p.o.NodeImage(ctx, e, log)
	if err != nil {
		return nil, err
	}
	c, why, err := p.reuse(ctx, e, spec, nodes, image, log)
	if err != nil {
		return nil, err
	}
	if c == nil {
		if why != "" {
			log.Info("Cluster %s: %s; it is made anew", spec.Name, why)
		}
		if c, err = p.anew(ctx, e, spec, image, l, log); err != nil {
			return nil, err
		}
	}
	if err := p.remember(spec.Name, config.Path); err != nil {
		return nil, err
	}
	if err := config.Add(ctx, contextOf(spec.Name), c.config); err != nil {
		return nil, err
	}
	c.classes = classNames(spec)
	return c, nil
}

// anew removes what there is of the cluster and makes it.
func (p *Provider) anew(ctx context.Context, e *engine.Engine, spec provision.ClusterSpec, image string, l *lock, log progress.Log) (*Cluster, error) {
	for again := true; ; again = false {
		if err := remove(ctx, e, spec.Name, log); err != nil {
			return nil, err
		}
		c, err := p.create(ctx, e, spec, image, l, log)
		if err == nil || !again || !overtaken(err) {
			return c, err
		}
		// A labctl that was killed had started an engine's program, which
		// lived on and has made a container now.
		log.Info("Cluster %s: a run that was killed still was at work; once more", spec.Name)
	}
}

// reuse returns the cluster that is there, if it is whole and fits the spec;
// otherwise why it can't be used ("" if there is none).
func (p *Provider) reuse(ctx context.Context, e *engine.Engine, spec provision.ClusterSpec, nodes []node, image string, log progress.Log) (*Cluster, string, error) {
	if len(nodes) == 0 {
		return nil, "", nil
	}
	id, err := imageID(ctx, e, image)
	if err != nil {
		return nil, "", err
	}
	if why := misfit(nodes, spec.Workers, id, image); why != "" {
		return nil, why, nil
	}
	step := log.Start("Looking at cluster " + spec.Name)
	c, err := p.open(ctx, e, spec.Name, nodes)
	step.End(nil) // a broken cluster is no failure of Up: it is replaced
	var broken *Broken
	if errors.As(err, &broken) {
		return nil, broken.Reason, nil
	}
	return c, "", err
}

// Get implements provision.Provider.
func (p *Provider) Get(ctx context.Context, name string) (provision.Cluster, error) {
	e, err := p.Engine(ctx, progress.Discard)
	if err != nil {
		return nil, err
	}
	nodes, err := findNodes(ctx, e, name)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("cluster %s: %w; `labctl up` makes it", name, provision.ErrNotFound)
	}
	if err := ours(e, name, nodes); err != nil {
		return nil, err
	}
	c, err := p.open(ctx, e, name, nodes)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w; `labctl up` repairs it or makes it anew", name, err)
	}
	if c.classes, err = readClasses(ctx, c.rest); err != nil {
		return nil, err
	}
	return c, nil
}

// Down implements provision.Provider.
func (p *Provider) Down(ctx context.Context, name string, log progress.Log) error {
	if err := validName(name); err != nil {
		return err
	}
	l, err := p.lock(name)
	if err != nil {
		return err
	}
	defer l.release()
	e, err := p.Engine(ctx, log)
	if err != nil {
		return err
	}
	nodes, err := findNodes(ctx, e, name)
	if err != nil {
		return err
	}
	if err := ours(e, name, nodes); err != nil {
		return err
	}
	if err := remove(ctx, e, name, log); err != nil {
		return err
	}
	for _, config := range p.kubeconfigsOf(name) {
		if err := config.Remove(ctx, contextOf(name)); err != nil {
			return err
		}
	}
	return p.forget(name)
}

func validate(spec provision.ClusterSpec) error {
	if err := validName(spec.Name); err != nil {
		return err
	}
	if spec.Workers < 0 || spec.Workers > 20 {
		return fmt.Errorf("%d workers: must be 0 to 20", spec.Workers)
	}
	return nil
}

// nameLimit keeps NAME-control-plane a host name: at most 63 characters
// (RFC 1035, 2.3.4).
const nameLimit = 63 - len("-control-plane")

var nodeSuffix = regexp.MustCompile(`-(control-plane|worker[0-9]*)$`)

func validName(name string) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("cluster name %q: %s", name, problems[0])
	}
	if len(name) > nameLimit {
		return fmt.Errorf("cluster name %q: at most %d characters", name, nameLimit)
	}
	if nodeSuffix.MatchString(name) {
		return fmt.Errorf("cluster name %q: would look like a node of another cluster", name)
	}
	return nil
}

func classNames(spec provision.ClusterSpec) map[string]string {
	if spec.RuntimeClasses != nil {
		return spec.RuntimeClasses
	}
	return map[string]string{"runc": "runc", "gvisor": "gvisor", "wasmedge": "wasmedge"}
}

// lock keeps two labctl off one cluster.
type lock struct {
	path   string
	unlock func()
	// until holds the lock after Up returned: kind may still be at work.
	until <-chan struct{}
}

func (p *Provider) lock(name string) (*lock, error) {
	dir := filepath.Join(p.o.StateDir, "clusters")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("labctl's state folder: %w; set XDG_STATE_HOME to a folder that can be written", err)
	}
	l := &lock{path: filepath.Join(dir, name+".lock")}
	unlock, err := filelock.TryLock(l.path)
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("another labctl is at work on cluster %s: %w; wait for it, or use another --name", name, err)
	}
	l.unlock = unlock
	return l, err
}

func (l *lock) release() {
	free := func() {
		_ = os.Remove(l.path) // an empty file that stays is no harm
		l.unlock()
	}
	select {
	case <-l.until:
	default:
		if l.until != nil {
			go func() {
				<-l.until
				free()
			}()
			return
		}
	}
	free()
}
