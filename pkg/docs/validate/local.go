package validate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
	"github.com/isolation-stack/labctl/pkg/docs/judge"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// local judges by an API server of its own, whose base state has the
// definitions that documents use.
type local struct {
	*judge.Judge
	*definitions
	server *apiserver.Server
	log    progress.Log
}

// definitions are those of custom resources.
type definitions struct {
	// own are the user's.
	own []*unstructured.Unstructured
	// installed are the names of those that a judge has.
	installed map[string]bool
}

// load reads the user's definitions; the folder may be "".
func load(folder string) (*definitions, error) {
	d := &definitions{installed: map[string]bool{}}
	if folder == "" {
		return d, nil
	}
	var err error
	if d.own, err = crds.Load(os.DirFS(folder)); err != nil {
		return nil, fmt.Errorf("CustomResourceDefinitions of %s: %w", folder, err)
	}
	return d, nil
}

// Local starts an API server that is thrown away in the end. The folder, if it
// isn't "", holds CustomResourceDefinitions of the user's.
func Local(o apiserver.Options, folder string) func(context.Context) (Judge, error) {
	if o.Log == nil {
		o.Log = progress.Discard
	}
	return func(ctx context.Context) (Judge, error) {
		definitions, err := load(folder)
		if err != nil {
			return nil, err
		}
		server, err := apiserver.Start(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		return &local{definitions: definitions, server: server, log: o.Log}, nil
	}
}

func (l *local) Prepare(ctx context.Context, kinds map[schema.GroupKind]bool) error {
	carried, own, err := l.missing(kinds)
	if err != nil {
		return err
	}
	if n := len(carried) + len(own); n > 0 {
		step := l.log.Start(fmt.Sprintf("Installing %d definitions of custom resources", n))
		err := l.install(ctx, carried, own)
		step.End(err)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJudge, err)
		}
	} else if l.Judge != nil {
		return nil
	}
	if err := l.server.Base(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrJudge, err)
	}
	// It asks the API server what kinds there are.
	l.Judge, err = judge.New(ctx, l.server.Config(), judge.Options{State: l.server, Sources: crds.Groups()})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJudge, err)
	}
	return nil
}

// install lets the API server judge the user's definitions, too; those that
// labctl carries were when it was built.
func (l *local) install(ctx context.Context, carried, own []*unstructured.Unstructured) error {
	if len(carried) > 0 {
		if err := l.server.Install(ctx, carried); err != nil {
			return err
		}
	}
	if len(own) > 0 {
		return crds.Install(ctx, l.server.Config(), own)
	}
	return nil
}

// missing are those of kinds that aren't installed yet: those that
// labctl carries, and the user's, of which all of a group are taken, and which
// count more.
func (d *definitions) missing(kinds map[schema.GroupKind]bool) (carried, own []*unstructured.Unstructured, err error) {
	used := map[string]bool{}
	for k := range kinds {
		used[k.Group] = true
	}
	fresh := func(c *unstructured.Unstructured) bool {
		there := d.installed[c.GetName()]
		d.installed[c.GetName()] = true
		return !there
	}
	for _, c := range d.own {
		if group, _, _ := unstructured.NestedString(c.Object, "spec", "group"); used[group] && fresh(c) {
			own = append(own, c)
		}
	}
	known, err := crds.ForKinds(slices.Collect(maps.Keys(kinds)))
	// A labctl of go install carries none: their kinds are unknown to it.
	if err != nil && !errors.Is(err, payload.ErrMissing) {
		return nil, nil, err
	}
	for _, c := range known {
		if fresh(c) {
			carried = append(carried, c)
		}
	}
	return carried, own, nil
}

func (l *local) Version() string { return l.server.Version() }

func (l *local) Close() error { return l.server.Stop() }

// there judges by a cluster that is there, in which it leaves nothing.
type there struct {
	*judge.Judge
	version string
}

// Cluster judges by a cluster that is there; config finds it.
func Cluster(config func(context.Context) (*rest.Config, error)) func(context.Context) (Judge, error) {
	return func(ctx context.Context) (Judge, error) {
		cfg, err := config(ctx)
		if err != nil {
			return nil, err
		}
		client, err := discovery.NewDiscoveryClientForConfig(cfg)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		v, err := client.ServerVersion()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		j, err := judge.New(ctx, cfg, judge.Options{})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		return &there{j, v.GitVersion}, nil
	}
}

// Prepare does nothing: a cluster has the kinds that it has.
func (*there) Prepare(context.Context, map[schema.GroupKind]bool) error { return nil }

func (t *there) Version() string { return t.version }

// Close does nothing: the cluster stays.
func (*there) Close() error { return nil }
