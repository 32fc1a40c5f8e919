package hypervisor

import (
	"context"
	"time"
)

// TSCFrequency measures how fast the processor's time stamp counter runs, in
// kHz; 0 where there is no such counter. It takes 60 ms.
//
// The counter and the clock can't be read at the same instant, and a
// preemption between the two would spoil the result: each end is read several
// times and the tightest pair counts.
func TSCFrequency(ctx context.Context) (khz int64, err error) {
	if !hasTSC {
		return 0, nil
	}
	start, from := readTSC()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(60 * time.Millisecond):
	}
	end, to := readTSC()
	return int64(float64(to-from) / float64(end.Sub(start)) * float64(time.Second/1000)), nil
}

func readTSC() (at time.Time, ticks uint64) {
	best := time.Duration(1<<63 - 1)
	for range 20 {
		before := time.Now()
		t := rdtsc()
		if d := time.Since(before); d < best {
			best, at, ticks = d, before.Add(d/2), t
		}
	}
	return at, ticks
}
