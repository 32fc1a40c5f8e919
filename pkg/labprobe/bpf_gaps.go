package labprobe

import (
	"fmt"
	"time"
)

// gaps is a histogram of how long a process was off the CPU: 100 buckets of
// 10 ms, the last one holds all that is longer.
type gaps [100]uint64

const (
	gapWidth = 10 * time.Millisecond
	// shortestGap is what counts: shorter ones are the ordinary sharing of a CPU.
	shortestGap = time.Millisecond
)

func (g *gaps) add(d time.Duration) {
	if d >= shortestGap {
		g[min(int(d/gapWidth), len(g)-1)]++
	}
}

// peak returns the lower bound of the bucket that holds most of the time.
func (g *gaps) peak() time.Duration {
	best, most := 0, time.Duration(0)
	for i, n := range g {
		if held := time.Duration(n) * (time.Duration(i)*gapWidth + gapWidth/2); held > most {
			best, most = i, held
		}
	}
	return time.Duration(best) * gapWidth
}

// longest returns the lower bound of the highest bucket that isn't empty.
func (g *gaps) longest() time.Duration {
	for i := len(g) - 1; i > 0; i-- {
		if g[i] > 0 {
			return time.Duration(i) * gapWidth
		}
	}
	return 0
}

func (g *gaps) events() (n int64) {
	for _, count := range g {
		n += int64(count)
	}
	return n
}

func (g *gaps) text() []string {
	var lines []string
	for i, n := range g {
		if n > 0 {
			lines = append(lines, fmt.Sprintf("%v:%d", time.Duration(i)*gapWidth, n))
		}
	}
	return lines
}
