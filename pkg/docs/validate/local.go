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
	definitions, err := l.missing(kinds)
	if err != nil {
		return err
	}
	if l.Judge != nil && len(definitions) == 0 {
		return nil
	}
	config := l.server.Config()
	config.WarningHandler = rest.NoWarnings{} // about definitions of others
	if len(definitions) > 0 {
		step := l.log.Start(fmt.Sprintf("Installing %d definitions of custom resources", len(definitions)))
		err := crds.Install(ctx, config, definitions)
		step.End(err)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJudge, err)
		}
	}
	if err := l.server.Base(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrJudge, err)
	}
	// It asks the API server what kinds there are.
	l.Judge, err = judge.New(ctx, config, judge.Options{State: l.server, Sources: crds.Groups()})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJudge, err)
	}
	return nil
}

// missing are the definitions of kinds that aren't installed yet; of the user's
// all of a group.
func (l *local) missing(kinds map[schema.GroupKind]bool) ([]*unstructured.Unstructured, error) {
	wanted, err := crds.ForKinds(slices.Collect(maps.Keys(kinds)))
	// A labctl of go install carries none: their kinds are unknown to it.
	if err != nil && !errors.Is(err, payload.ErrMissing) {
		return nil, err
	}
	used := map[string]bool{}
	for k := range kinds {
		used[k.Group] = true
	}
	var own []*unstructured.Unstructured
	for _, d := range l.own {
		if group, _, _ := unstructured.NestedString(d.Object, "spec", "group"); used[group] {
			own = append(own, d)
		}
	}
	return slices.DeleteFunc(crds.Override(wanted, own), func(d *unstructured.Unstructured) bool {
		there := l.installed[d.GetName()]
		l.installed[d.GetName()] = true
		return there
	}), nil
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
