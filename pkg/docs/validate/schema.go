package validate

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/docs/crds"
	"github.com/isolation-stack/labctl/pkg/docs/judge"
	docschema "github.com/isolation-stack/labctl/pkg/docs/schema"
)

// bySchema judges by the schemas of an API server that doesn't run.
type bySchema struct {
	*judge.Judge
	*definitions
	version string
}

// Schema judges by what an API server publishes, which is kept in the cache; the
// folder is as for Local.
func Schema(o apiserver.Options, folder string) func(context.Context) (Judge, error) {
	return func(ctx context.Context) (Judge, error) {
		definitions, err := load(folder)
		if err != nil {
			return nil, err
		}
		published, err := apiserver.Publish(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		schemas, err := docschema.New(published)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		j, err := judge.NewBySchema(judge.Server{Version: published.Version, Groups: published.Groups, Resources: published.Resources}, schemas, crds.Groups())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrJudge, err)
		}
		return &bySchema{j, definitions, published.Version}, nil
	}
}

func (b *bySchema) Prepare(_ context.Context, kinds map[schema.GroupKind]bool) error {
	carried, own, err := b.missing(kinds)
	if err != nil {
		return err
	}
	for _, d := range slices.Concat(carried, own) {
		if err := b.Define(d); err != nil {
			return fmt.Errorf("%w: %w", ErrJudge, err)
		}
	}
	return nil
}

func (b *bySchema) Version() string { return b.version + " (schemas alone)" }

// Close does nothing: what was read stays in the cache.
func (*bySchema) Close() error { return nil }
