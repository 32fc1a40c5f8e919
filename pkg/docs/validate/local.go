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
	server *apiserver.Server
	// own are the user's definitions.
	own []*unstructured.Unstructured
	// installed are the names of the definitions that are in the base state.
	installed map[string]bool
	log       progress.Log
}

// Local starts an API server that is thrown away in the end. The folder, if it
// isn't "", holds CustomResourceDefinitions of the user's.
func Local(o apiserver.Options, folder string) func(context.Context) (Judge, error) {
	if o.Log == nil {
		o.Log = progress.Discard
	}
	return func(ctx context.Context) (Judge, error) {
		var own []*unstructured.Unstructured
		if folder != "" {
			var err error
			if own, err = crds.Load(os.DirFS(folder)); err != nil {
				return nil, fmt.Errorf("CustomResourceDefinitions of %s: %w", folder, err)
			}
		}
		server, err := apiserver.Start(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		return &local{server: server, own: own, installed: map[string]bool{}, log: o.Log}, nil
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

// missing are the definitions of kinds that aren't installed yet: those that
// labctl carries, and the user's, of which all of a group are taken, and which
// count more.
func (l *local) missing(kinds map[schema.GroupKind]bool) (carried, own []*unstructured.Unstructured, err error) {
	used := map[string]bool{}
	for k := range kinds {
		used[k.Group] = true
	}
	fresh := func(d *unstructured.Unstructured) bool {
		there := l.installed[d.GetName()]
		l.installed[d.GetName()] = true
		return !there
	}
	for _, d := range l.own {
		if group, _, _ := unstructured.NestedString(d.Object, "spec", "group"); used[group] && fresh(d) {
			own = append(own, d)
		}
	}
	known, err := crds.ForKinds(slices.Collect(maps.Keys(kinds)))
	// A labctl of go install carries none: their kinds are unknown to it.
	if err != nil && !errors.Is(err, payload.ErrMissing) {
		return nil, nil, err
	}
	for _, d := range known {
		if fresh(d) {
			carried = append(carried, d)
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
