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

// missing are the definitions of kinds that aren't installed yet. A definition
// costs the API server CPU time and memory, so there are no others; but of
// a group of which a kind is used that it doesn't have, all are there, to name
// the ones that it has.
func (l *local) missing(kinds map[schema.GroupKind]bool) ([]*unstructured.Unstructured, error) {
	groups := map[string]bool{}
	for k := range kinds {
		groups[k.Group] = true
	}
	// A labctl of go install carries none: their kinds are unknown to it.
	known, err := crds.ForGroups(slices.Collect(maps.Keys(groups)))
	if err != nil && !errors.Is(err, payload.ErrMissing) {
		return nil, err
	}
	known = crds.Override(known, l.own)
	has := map[schema.GroupKind]bool{}
	for _, d := range known {
		has[defines(d)] = true
	}
	whole := map[string]bool{}
	for k := range kinds {
		whole[k.Group] = whole[k.Group] || !has[k]
	}
	return slices.DeleteFunc(known, func(d *unstructured.Unstructured) bool {
		k := defines(d)
		wanted := (kinds[k] || whole[k.Group]) && !l.installed[d.GetName()]
		l.installed[d.GetName()] = l.installed[d.GetName()] || wanted
		return !wanted
	}), nil
}

// defines is the kind that a CustomResourceDefinition defines.
func defines(definition *unstructured.Unstructured) schema.GroupKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	return schema.GroupKind{Group: group, Kind: kind}
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
