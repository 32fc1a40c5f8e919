package validate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

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

	mu     sync.Mutex
	groups map[string]bool // that documents use
	// prepared are the groups that the judge knows of.
	prepared map[string]bool
}

func newServer(ctx context.Context, begin func(context.Context) (Judge, error)) *server {
	s := &server{begin: begin, ready: make(chan struct{}), groups: map[string]bool{}, prepared: map[string]bool{}}
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

// hear starts the judge if a document needs it, and takes its groups in, so
// that they are there all together.
func (s *server) hear(d document) {
	groups := objectGroups(d.Document)
	if s.begin == nil || len(groups) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		s.groups[g] = true
	}
	s.start()
}

// document judges one that was heard of.
func (s *server) document(ctx context.Context, d document) ([]docs.Finding, error) {
	groups := objectGroups(d.Document)
	if s.begin == nil || len(groups) == 0 {
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
	if slices.ContainsFunc(groups, func(g string) bool { return !s.prepared[g] }) {
		s.mu.Lock()
		all := slices.Sorted(maps.Keys(s.groups))
		s.mu.Unlock()
		if err := s.judge.Prepare(ctx, all); err != nil {
			return nil, err
		}
		for _, g := range all {
			s.prepared[g] = true
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

// objectGroups are the API groups of a document's objects, "" for the core.
func objectGroups(d docs.Document) []string {
	groups := map[string]bool{}
	for _, e := range d.Examples {
		if e.Class != docs.Kubernetes && e.Class != docs.Custom {
			continue
		}
		for _, o := range e.Objects {
			group, _, ok := strings.Cut(o.APIVersion, "/")
			if !ok {
				group = ""
			}
			groups[group] = true
		}
	}
	return slices.Sorted(maps.Keys(groups))
}
