package validate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// ErrJudge is an API server that doesn't start, or breaks.
var ErrJudge = errors.New("judging by an API server")

// server is a judge that starts when it is needed.
type server struct {
	begin func(context.Context) (Judge, error)
	once  sync.Once
	// ready is closed when the start has ended, with a judge or an error.
	ready chan struct{}
	judge Judge
	err   error
	// ctx is that of the run: it ends a start that is under way.
	ctx  context.Context
	stop context.CancelFunc

	mu    sync.Mutex
	kinds map[schema.GroupKind]bool // that documents use
	// prepared are the kinds that the judge knows of.
	prepared map[schema.GroupKind]bool
}

func newServer(ctx context.Context, begin func(context.Context) (Judge, error)) *server {
	s := &server{begin: begin, ready: make(chan struct{}), kinds: map[schema.GroupKind]bool{}, prepared: map[schema.GroupKind]bool{}}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s
}

// start starts the judge, once.
func (s *server) start() {
	s.once.Do(func() {
		go func() {
			defer close(s.ready)
			s.judge, s.err = s.begin(s.ctx)
		}()
	})
}

// hear starts the judge if a document needs it, and takes its kinds in, so
// that they are there all together.
func (s *server) hear(d document) {
	kinds := objectKinds(d.Document)
	if s.begin == nil || len(kinds) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range kinds {
		s.kinds[k] = true
	}
	s.start()
}

// document judges one that was heard of.
func (s *server) document(ctx context.Context, d document) ([]docs.Finding, error) {
	kinds := objectKinds(d.Document)
	if s.begin == nil || len(kinds) == 0 {
		return nil, nil
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.err != nil {
		return nil, s.err
	}
	if slices.ContainsFunc(kinds, func(k schema.GroupKind) bool { return !s.prepared[k] }) {
		s.mu.Lock()
		s.prepared = maps.Clone(s.kinds)
		s.mu.Unlock()
		if err := s.judge.Prepare(ctx, s.prepared); err != nil {
			return nil, err
		}
	}
	found, err := s.judge.Document(ctx, d.Document, d.parsed)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrJudge, err)
	}
	return found, err
}

// version is that of the judge that was there, "" if there was none.
func (s *server) version() string {
	if s.judge == nil {
		return ""
	}
	return s.judge.Version()
}

// close ends the judge, also one whose start is under way.
func (s *server) close() error {
	s.stop()
	started := true
	s.once.Do(func() { started = false })
	if !started {
		return nil
	}
	<-s.ready
	if s.judge == nil {
		return nil
	}
	return s.judge.Close()
}

// objectKinds are the kinds of a document's objects.
func objectKinds(d docs.Document) []schema.GroupKind {
	var kinds []schema.GroupKind
	for _, e := range d.Examples {
		if e.Class != docs.Kubernetes && e.Class != docs.Custom {
			continue
		}
		for _, o := range e.Objects {
			group, _, ok := strings.Cut(o.APIVersion, "/")
			if !ok {
				group = "" // of the core
			}
			if k := (schema.GroupKind{Group: group, Kind: o.Kind}); !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	return kinds
}
