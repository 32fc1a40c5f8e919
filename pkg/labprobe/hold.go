package labprobe

import (
	"context"
	"fmt"
	"time"
)

// HoldFlag before a command makes labprobe stay for a while after it has
// printed its report, so that the process can be looked at from outside:
// labprobe -hold 1m COMMAND. SIGTERM ends the wait.
const HoldFlag = "-hold"

// splitHold takes a leading HoldFlag and its duration off args.
func splitHold(args []string) (time.Duration, []string, error) {
	if len(args) == 0 || args[0] != HoldFlag {
		return 0, args, nil
	}
	if len(args) < 2 {
		return 0, nil, fmt.Errorf("%s wants a duration like 1m", HoldFlag)
	}
	d, err := time.ParseDuration(args[1])
	if err != nil || d < 0 {
		return 0, nil, fmt.Errorf("%s %q: want a duration like 1m", HoldFlag, args[1])
	}
	return d, args[2:], nil
}

// wait returns when d is over or ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
