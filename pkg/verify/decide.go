package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// decide gives a claim its verdict from what its probes saw. setup is why the
// lab could not be set up, or nil.
func (r *run) decide(ctx context.Context, l *lab.Lab, c lab.Compiled, namespace string, setup error) result.Claim {
	out := result.Claim{
		ID: c.ID, Layer: c.Layer, Statement: c.Statement, Source: c.Source,
		Expected: c.Expect, Truth: c.Truth, Decide: c.Claim.Decide, Show: c.Show,
	}
	out.Source.Path = l.SourcePath(*c.Claim)
	if len(c.Probes) == 0 {
		out.Verdict, out.Reason = c.Expect, c.Because
		return out
	}
	if setup != nil {
		if ctx.Err() == nil {
			out.Error = "the lab could not be set up: " + setup.Error()
		}
		return out
	}
	outcomes := make([]outcome, len(c.Probes))
	for i, p := range c.Probes {
		outcomes[i] = r.seen[key(namespace, c, p)]
		out.Seconds = max(out.Seconds, outcomes[i].seconds)
		out.Evidence = append(out.Evidence, outcomes[i].set.Under(p.As)...)
	}
	// What was measured can be decided also after the run was interrupted.
	v, reason, err := verdict(context.WithoutCancel(ctx), c, outcomes, out.Evidence)
	switch {
	case errors.Is(err, errInterrupted):
	case err != nil:
		out.Error = err.Error()
	default:
		out.Verdict, out.Reason = v, reason
	}
	return out
}

var errInterrupted = errors.New("interrupted")

// verdict decides: what broke first, then what wasn't measured, then what
// can't be shown here, then the cases of unless, and at last the expression.
func verdict(ctx context.Context, c lab.Compiled, outcomes []outcome, set evidence.Set) (lab.Verdict, *lab.Text, error) {
	var broken, untestable []string
	interrupted, partly := false, true
	for i, o := range outcomes {
		var u *evidence.Untestable
		switch {
		case o.interrupted:
			interrupted = true
		case errors.As(o.err, &u):
			untestable = append(untestable, u.Reason)
			partly = partly && len(o.set) > 0
		case o.err != nil:
			broken = append(broken, fmt.Sprintf("probe %s (%s): %v", c.Probes[i].As, c.Probes[i].Kind, o.err))
		}
	}
	switch {
	case len(broken) > 0:
		return "", nil, errors.New(strings.Join(broken, "; "))
	case interrupted:
		return "", nil, errInterrupted
	case len(untestable) > 0 && (!partly || !complete(c, set)):
		slices.Sort(untestable)
		reason := strings.Join(slices.Compact(untestable), "; ")
		// What a host says of itself is in one language.
		return lab.Untestable, &lab.Text{EN: reason, ZH: reason}, nil
	}
	for i, u := range c.Unless {
		holds, err := u.Eval(ctx, set)
		if err != nil {
			return "", nil, fmt.Errorf("unless[%d].when: %w", i, err)
		}
		if holds {
			return c.Claim.Unless[i].Verdict, &c.Claim.Unless[i].Because, nil
		}
	}
	holds, err := c.Decide.Eval(ctx, set)
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("decide: %w", err)
	case holds:
		return lab.Confirmed, nil, nil
	}
	return lab.Refuted, nil, nil
}

// complete says whether everything that the claim's expressions look at was
// measured.
func complete(c lab.Compiled, set evidence.Set) bool {
	for _, e := range append(slices.Clone(c.Unless), c.Decide) {
		for _, name := range e.Names {
			if _, ok := set.Get(name); !ok {
				return false
			}
		}
	}
	return true
}

// ok says whether a claim leaves the run as it should be. Untestable is the
// host's fault, not the document's, and fails a run only if strict.
func ok(c result.Claim, strict bool) bool {
	switch {
	case c.Outcome() == result.Error || c.Outcome() == result.NotRun:
		return false
	case c.Verdict == lab.Untestable && !strict:
		return true
	}
	return c.Verdict == c.Expected
}
