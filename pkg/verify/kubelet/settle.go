package kubelet

import (
	"context"
	"fmt"
	"time"
)

// pause is between two looks at kubelet's metrics.
const pause = 2 * time.Second

// settle waits for a sample that cAdvisor took while the kernel's counter
// stood still, so that the two can be compared exactly. Samples carry the
// time that they were taken at; one whose time changes after the counter was
// read was taken after that, whatever the clocks say.
func settle(ctx context.Context, pause time.Duration, fetch func(context.Context) (sample, error), count func(context.Context) (time.Duration, error)) (sample, time.Duration, error) {
	for {
		before, err := count(ctx)
		if err != nil {
			return sample{}, 0, err
		}
		first, err := fetch(ctx)
		if err != nil {
			return sample{}, 0, err
		}
		next := first
		for next.taken == first.taken {
			select {
			case <-ctx.Done():
				return sample{}, 0, fmt.Errorf("kubelet's metrics show nothing new of the container: %w", context.Cause(ctx))
			case <-time.After(pause):
			}
			if next, err = fetch(ctx); err != nil {
				return sample{}, 0, err
			}
		}
		after, err := count(ctx)
		if err != nil {
			return sample{}, 0, err
		}
		if before == after {
			return next, after, nil
		}
	}
}
