package verify

import (
	"context"
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

// settle waits for all that was collected, within closeLimit; not at all once
// ctx has ended. What isn't gone then is said; the cluster goes on by itself.
func (r *run) settle(ctx context.Context) {
	r.pending.mu.Lock()
	waits := r.pending.waits
	r.pending.waits = nil
	r.pending.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	var group sync.WaitGroup
	for _, wait := range waits {
		group.Go(func() {
			if err := wait(limited); err != nil && ctx.Err() == nil {
				r.Log.Info("Still being removed: %v", err)
			}
		})
	}
	group.Wait()
}
