package verify

import (
	"context"
	"errors"
	"sync"
)

// settling collects what probes leave to be waited for, so that no probe
// waits for namespaces to go while others could measure.
type settling struct {
	mu    sync.Mutex
	waits []func(context.Context) error
}

func (s *settling) add(wait func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = append(s.waits, wait)
}

// settle waits for all that was collected, each within closeLimit; not at all
// once ctx has ended: the cluster goes on by itself.
func (r *run) settle(ctx context.Context) error {
	r.pending.mu.Lock()
	waits := r.pending.waits
	r.pending.waits = nil
	r.pending.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	errs := make([]error, len(waits))
	var group sync.WaitGroup
	for i, wait := range waits {
		group.Go(func() { errs[i] = wait(ctx) })
	}
	group.Wait()
	if len(waits) == 0 || errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return errors.Join(errs...)
}
