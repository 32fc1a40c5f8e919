package validate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
	"github.com/isolation-stack/labctl/pkg/docs/judge"
)

// local judges by an API server of its own, whose base state has the
// definitions that documents use.
type local struct {
	*judge.Judge
	server *apiserver.Server
	// own are the user's definitions.
	own []*unstructured.Unstructured
	// installed are the groups whose definitions are in the base state.
	installed map[string]bool
}

// Local starts an API server that is thrown away in the end. The folder, if it
// isn't "", holds CustomResourceDefinitions of the user's.
func Local(o apiserver.Options, folder string) func(context.Context) (Judge, error) {
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
		return &local{server: server, own: own, installed: map[string]bool{}}, nil
	}
}

func (l *local) Prepare(ctx context.Context, groups []string) error {
	groups = slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return l.installed[g] })
	definitions, err := crds.ForGroups(groups)
	// A labctl of go install carries none: their kinds are unknown to it.
	if err != nil && !errors.Is(err, payload.ErrMissing) {
		return err
	}
	var own []*unstructured.Unstructured
	for _, d := range l.own {
		if group, _, _ := unstructured.NestedString(d.Object, "spec", "group"); slices.Contains(groups, group) {
			own = append(own, d)
		}
	}
	if definitions = crds.Override(definitions, own); len(definitions) > 0 {
		if err := crds.Install(ctx, l.server.Config(), definitions); err != nil {
			return fmt.Errorf("%w: %w", ErrJudge, err)
		}
	}
	for _, g := range groups {
		l.installed[g] = true
	}
	if l.Judge != nil && len(definitions) == 0 {
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
func (*there) Prepare(context.Context, []string) error { return nil }

func (t *there) Version() string { return t.version }

// Close does nothing: the cluster stays.
func (*there) Close() error { return nil }
