package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// runEnv marks the processes of one run on the node. When labctl stops
// waiting, the engine's exec ends here but not there; the mark is how they
// are found and ended.
const runEnv = "LABCTL_RUN"

type ran struct {
	probe.Exit
	took time.Duration
}

// Grace periods: how much longer than its limit a run may take before the
// engine's exec counts as hung, and how long the processes of a run that is
// interrupted have to clean up.
const (
	execGrace = 15 * time.Second
	endGrace  = 2 * time.Second
)

// runLimited runs argv under timeout(1) on the node, so that it ends even if
// labctl is killed. When ctx ends, its processes are told to end and have a
// moment for it; what names the run in errors.
func runLimited(ctx context.Context, place probe.Place, limit time.Duration, what string, argv []string) (ran, error) {
	mark := runEnv + "=" + rand.Text()
	seconds := strconv.FormatFloat(limit.Seconds(), 'f', -1, 64)
	runCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit+execGrace)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		end(runCtx, place, mark)
		select {
		case <-runCtx.Done():
		case <-time.After(endGrace):
			cancel()
		}
	})
	defer stop()
	start := time.Now()
	exit, err := place.Run(runCtx, nil, append([]string{"env", mark, "timeout", "--kill-after=5", seconds}, argv...)...)
	took := time.Since(start)
	switch {
	case ctx.Err() != nil:
		return ran{}, fmt.Errorf("%s: %w", what, ctx.Err())
	case runCtx.Err() != nil:
		end(ctx, place, mark)
		return ran{}, fmt.Errorf("%s: took longer than %s", what, limit)
	case err != nil:
		return ran{}, fmt.Errorf("%s: %w", what, err)
	// timeout(1): 124 where the limit was reached, 137 where it had to kill.
	case took >= limit && (exit.Code == 124 || exit.Code == 137):
		return ran{}, fmt.Errorf("%s: took longer than %s%s", what, limit, said(exit.Stderr))
	}
	return ran{Exit: exit, took: took}, nil
}

// endScript sends SIGTERM to every process whose environment holds $1.
const endScript = `grep -lsz "^$1\$" /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r kill -TERM`

// end tells the processes of a run to end. It has a time of its own, as ctx may
// be over, and nobody to report a failure to: timeout(1) on the node is what is
// left then.
func end(ctx context.Context, place probe.Place, mark string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endGrace)
	defer cancel()
	_, _ = place.Run(ctx, nil, "sh", "-c", endScript, "sh", mark)
}

// said is what a program said on stderr, for the end of an error message.
func said(stderr []byte) string {
	s := strings.TrimSpace(string(stderr))
	if s == "" {
		return ""
	}
	if len(s) > 2000 {
		s = "…" + s[len(s)-2000:]
	}
	return "\n  " + strings.ReplaceAll(s, "\n", "\n  ")
}

// line writes argv as one would type it.
func line(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		if a == "" || strings.ContainsAny(a, " \t\n\"'$\\*?|&;<>()") {
			a = strconv.Quote(a)
		}
		words[i] = a
	}
	return strings.Join(words, " ")
}

func text(b []byte) string { return strings.TrimRight(string(b), "\n") }
