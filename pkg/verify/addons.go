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
	// Quiet says whether claims that don't name the add-on are measured beside
	// it as they are without.
	Quiet(name string) bool
}

// releaseLimit bounds how long a run waits for its add-ons to go.
const releaseLimit = 3 * time.Minute

// away sees that the phase's add-ons that mustn't be there aren't, and those
// that are left out. It gives the errors by name; an interruption is none:
// what is measured then says so itself.
func (r *run) away(ctx context.Context, p phase) map[string]error {
	errs := map[string]error{}
	for _, name := range p.without(r.LeaveOut) {
		if err := r.cluster(func() error { return r.Addons.Away(ctx, name) }); err != nil && ctx.Err() == nil {
			errs[name] = err
		}
	}
	return errs
}

// arrival is an add-on that has come up, or that can't.
type arrival struct {
	name   string
	images map[string]string
	err    error
}

// up brings the add-ons up, one after the other, and tells of each.
func (r *run) up(ctx context.Context, names []string, told chan<- arrival) {
	for _, name := range names {
		a := arrival{name: name}
		if !slices.Contains(r.LeaveOut, name) {
			a.err = r.cluster(func() (err error) {
				a.images, err = r.Addons.Up(ctx, name)
				return err
			})
		}
		if ctx.Err() != nil {
			a.err = nil
		}
		told <- a
	}
}

// cluster does what needs the add-ons of a cluster.
func (r *run) cluster(do func() error) error {
	if r.Addons == nil {
		return evidence.Untestablef("there is no cluster for add-ons")
	}
	return do()
}

// surroundings are what add-ons a claim is measured with and without.
func surroundings(c lab.Compiled) string {
	return addonsKey(c.Addons) + "!" + addonsKey(c.Without)
}

func addonsKey(names []string) string {
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(names))), ",")
}

func merged(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
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
