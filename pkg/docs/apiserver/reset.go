package apiserver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Settle does what controllers would do about what was written since Base or
// Reset, and returns when the API server has seen all of it: admission of a
// Pod then finds a new RuntimeClass, a LimitRange or a namespace's labels, and
// a new CRD is served. It takes some milliseconds. Admission policies and
// webhooks take effect up to a second later: they are better created dry.
func (s *Server) Settle(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	return s.explain(s.state.settle(ctx))
}

func (s *state) settle(ctx context.Context) error {
	fresh, err := s.collect(ctx)
	if err != nil || !slices.ContainsFunc(fresh, cached) {
		return err
	}
	crds := map[string]bool{} // and whether they are served
	api := s.epoch.api
	for _, key := range fresh {
		var err error
		if name, ok := strings.CutPrefix(key, namespaceKeys); ok {
			err = api.account(ctx, name)
		}
		if name, ok := strings.CutPrefix(key, quotaKeys); ok {
			namespace, name, _ := strings.Cut(name, "/")
			err = api.quota(ctx, namespace, name)
		}
		if name, ok := strings.CutPrefix(key, crdKeys); ok {
			crds[name], err = api.served(ctx, name)
		}
		if err != nil {
			return fmt.Errorf("settle %s: %w", strings.TrimPrefix(key, registry), err)
		}
	}
	return s.follow(ctx, nil, crds, nil)
}

// follow commits changes and returns when the API server has seen them, and
// all earlier ones. Discovery then has those CRDs whose value is true and not
// the others; keys that kube-apiserver manages are there, or not.
func (s *state) follow(ctx context.Context, ops []clientv3.Op, crds, managed map[string]bool) error {
	if err := s.epoch.next(ctx, s.store, ops, len(crds) > 0); err != nil {
		return err
	}
	if err := s.appear(ctx, managed); err != nil {
		return err
	}
	if len(crds) == 0 {
		return nil
	}
	if err := s.epoch.api.discovers(ctx, crds); err != nil {
		return fmt.Errorf("discovery of %s: %w", slices.Sorted(maps.Keys(crds)), err)
	}
	return nil
}

// Base settles and makes the present state the one that Reset goes back to. It
// may be called again. Without it, the base state is that of the start.
func (s *Server) Base(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	err := s.state.settle(ctx)
	if err == nil {
		err = s.state.quiet(ctx)
	}
	if err != nil {
		return s.explain(fmt.Errorf("base state: %w", err))
	}
	return nil
}

// quiet makes a base state that nothing has changed for a while: what was
// created before, such as a CRD, makes the API server write more.
func (s *state) quiet(ctx context.Context) error {
	for {
		if err := s.begin(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(quietTime):
		case <-ctx.Done():
			return fmt.Errorf("the API server's state doesn't come to rest: %w", ctx.Err())
		}
		if fresh, err := s.collect(ctx); err != nil || len(fresh) == 0 {
			return err
		}
	}
}

// quietTime is more than kube-apiserver's own controllers take to answer a
// change.
const quietTime = 100 * time.Millisecond

// Reset brings the state of Base back: what came since is deleted, what changed
// or went is put back. It returns when the API server has seen it, after some
// milliseconds.
func (s *Server) Reset(ctx context.Context) error {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	if err := s.state.reset(ctx); err != nil {
		return s.explain(fmt.Errorf("reset: %w", err))
	}
	return nil
}

func (s *state) reset(ctx context.Context) error {
	if _, err := s.collect(ctx); err != nil {
		return err
	}
	ops, managed, err := s.undo(ctx)
	if err != nil {
		return err
	}
	crds := map[string]bool{} // and whether they are in the base state
	for _, op := range ops {
		if name, ok := strings.CutPrefix(string(op.KeyBytes()), crdKeys); ok {
			c, err := readCRD(op.ValueBytes())
			crds[name] = err == nil && c.served() && c.is("Established", metav1.ConditionTrue)
		}
	}
	if slices.ContainsFunc(slices.Collect(maps.Keys(s.changed)), cached) {
		err = s.follow(ctx, ops, crds, managed)
	} else {
		err = s.commit(ctx, ops)
	}
	if err != nil {
		return err
	}
	clear(s.changed)
	return nil
}

// explain adds to an error that one of the programs has ended, if one has.
func (s *Server) explain(err error) error {
	for _, c := range []*child{s.etcd, s.api} {
		if err != nil && c.hasEnded() {
			return c.failure(err)
		}
	}
	return err
}
