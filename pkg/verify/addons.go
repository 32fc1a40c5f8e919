package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// Addons are the add-ons of the cluster as a run uses them;
// pkg/provision/addon implements it. An *evidence.Untestable is an add-on
// that this host or cluster can't have, or can't be without.
type Addons interface {
	// Up brings an add-on up, or finds it up, and gives its images'
	// references by their short names. It stays up until Away or Release.
	Up(ctx context.Context, name string) (images map[string]string, err error)
	// Away sees that the add-on isn't there.
	Away(ctx context.Context, name string) error
	// Release ends the use of those that Up gave: what nobody else uses goes.
	Release(ctx context.Context) error
}

// releaseLimit bounds how long a run waits for its add-ons to go.
const releaseLimit = 3 * time.Minute

// surroundings are what add-ons a claim is measured with and without.
func surroundings(c lab.Compiled) string {
	return addonsKey(c.Addons) + "!" + addonsKey(c.Without)
}

func addonsKey(names []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ",")
}

// inSurroundings measures the claims, those that need no add-on first, then
// for each set of add-ons those that need it. Add-ons stay up between labs.
func (r *run) inSurroundings(ctx context.Context, namespace string, claims []lab.Compiled, step progress.Step) {
	for _, group := range bySurroundings(claims) {
		if err := r.surround(ctx, group[0].Claim); err != nil {
			r.fail(namespace, group, err)
			continue
		}
		r.measure(ctx, namespace, group, step)
	}
}

// bySurroundings puts claims that can be measured together into one group:
// those without add-ons in the first ones, the others in the order in which
// their add-ons are first named.
func bySurroundings(claims []lab.Compiled) [][]lab.Compiled {
	var groups [][]lab.Compiled
	at := map[string]int{}
	for _, c := range claims {
		if len(c.Probes) == 0 {
			continue
		}
		k := surroundings(c)
		i, ok := at[k]
		if !ok {
			i = len(groups)
			at[k], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], c)
	}
	// Those that want an add-on away come before those that want it.
	slices.SortStableFunc(groups, func(a, b []lab.Compiled) int {
		return len(a[0].Addons) - len(b[0].Addons)
	})
	return groups
}

// surround makes the surroundings of a claim. An interruption is no error:
// what is measured then says so itself.
func (r *run) surround(ctx context.Context, c *lab.Claim) error {
	if len(c.Addons) == 0 && len(c.Without) == 0 {
		return nil
	}
	if r.Addons == nil {
		return evidence.Untestablef("there is no cluster for the add-ons %s", strings.Join(slices.Concat(c.Addons, c.Without), ", "))
	}
	// Nothing of before is under way when add-ons come and go.
	r.settle(ctx)
	var err error
	for _, name := range slices.Concat(c.Without, r.LeaveOut) {
		if err == nil && (slices.Contains(c.Without, name) || slices.Contains(c.Addons, name)) {
			err = r.Addons.Away(ctx, name)
		}
	}
	for _, name := range c.Addons {
		if err != nil || slices.Contains(r.LeaveOut, name) {
			continue
		}
		var images map[string]string
		if images, err = r.Addons.Up(ctx, name); err == nil {
			r.images = merged(r.images, images)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// fail gives all probes of the claims the reason why they weren't run.
func (r *run) fail(namespace string, claims []lab.Compiled, err error) {
	for _, c := range claims {
		for _, p := range c.Probes {
			r.seen[key(namespace, c, p)] = outcome{err: err}
		}
	}
}

// releaseAddons lets go of what the run brought up. After an interruption
// there is no time for it: what is up stays, held by nobody.
func (r *run) releaseAddons(ctx context.Context) error {
	if r.Addons == nil || ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseLimit)
	defer cancel()
	if err := r.Addons.Release(ctx); err != nil {
		return fmt.Errorf("taking add-ons down: %w", err)
	}
	return nil
}
