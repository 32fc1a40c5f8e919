// Package guide is the labs' side for people: it looks at a cluster and says
// which steps of a lab are done, and it makes and resets the namespace that
// people work in.
package guide

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// State is what a check says of a step.
type State string

// The states of steps. A step without a check is Unchecked.
const (
	Done      State = "done"
	Open      State = "open"
	Unchecked State = "unchecked"
)

// Step is how far a person is with one step.
type Step struct {
	// Number counts from 1.
	Number int      `json:"step"`
	Title  lab.Text `json:"title"`
	State  State    `json:"state"`
	// Hint is for those who aren't done.
	Hint *lab.Text `json:"hint,omitempty"`
	// Because says what the check's expression didn't find, where that is why
	// the step is open.
	Because string `json:"because,omitempty"`
}

// ErrUnknownKind is a kind that the API server doesn't serve.
var ErrUnknownKind = errors.New("the API server doesn't know the kind")

// Looker reads what a check asks for. A kind that isn't served is
// ErrUnknownKind.
type Looker interface {
	Look(ctx context.Context, c *lab.Check) (cluster.Objects, error)
}

// Compile says what is wrong with the expression of a check: CEL over object
// (one), or over objects, and ${…}, as in scenarios.
func Compile(text string, one bool) error {
	text, err := cluster.Surroundings(nil, lab.PeopleNamespace).Expression(text)
	if err == nil {
		_, err = cluster.Compile(text, evidence.Bool, one)
	}
	return err
}

// Fill returns the steps with the ${…} of their checks filled in for a cluster.
func Fill(steps []lab.Step, in probe.Cluster) ([]lab.Step, error) {
	names := cluster.Surroundings(&probe.Environment{Cluster: in}, lab.PeopleNamespace)
	filled := slices.Clone(steps)
	for i, s := range steps {
		if s.Check == nil {
			continue
		}
		c := *s.Check
		var err error
		if c.For, err = names.Expression(c.For); err != nil {
			return nil, fmt.Errorf("the check of step %d: %w", i+1, err)
		}
		filled[i].Check = &c
	}
	return filled, nil
}

// Look says of each step whether it is done. An error is a check that couldn't
// be made, as by a cluster that doesn't answer.
func Look(ctx context.Context, steps []lab.Step, at Looker) ([]Step, error) {
	seen := make([]Step, len(steps))
	for i := range steps {
		var err error
		if seen[i], err = LookAt(ctx, steps, i, at); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// LookAt says whether the step with an index is done.
func LookAt(ctx context.Context, steps []lab.Step, i int, at Looker) (Step, error) {
	s := Step{Number: i + 1, Title: steps[i].Title, State: Unchecked}
	c := steps[i].Check
	if c == nil {
		return s, nil
	}
	condition, err := cluster.Compile(c.For, evidence.Bool, c.Selector == nil)
	if err != nil {
		return s, fmt.Errorf("the check of step %d: %w", s.Number, err)
	}
	objects, err := at.Look(ctx, c)
	if err != nil && !errors.Is(err, ErrUnknownKind) {
		return s, fmt.Errorf("the check of step %d: %w", s.Number, err)
	}
	met := false
	if err == nil {
		met, err = condition.Holds(ctx, objects)
	}
	switch {
	case ctx.Err() != nil:
		return s, ctx.Err()
	case met:
		s.State = Done
		return s, nil
	case c.Until > i+1 && c.Until <= len(steps):
		later, laterErr := LookAt(ctx, steps, c.Until-1, at)
		if laterErr != nil || later.State == Done {
			s.State = later.State
			return s, laterErr
		}
	}
	if err != nil {
		s.Because = err.Error()
	}
	s.State, s.Hint = Open, &c.Hint
	return s, nil
}

// interval is how often Await looks.
const interval = 500 * time.Millisecond

// Await looks at a step until it is done, or for a limit of time.
func Await(ctx context.Context, steps []lab.Step, i int, at Looker, limit time.Duration) (Step, error) {
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		s, err := LookAt(ctx, steps, i, at)
		if err != nil || s.State != Open {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, ctx.Err()
		case <-end.C:
			return s, nil
		case <-time.After(interval):
		}
	}
}

// AllDone says whether no step is open.
func AllDone(steps []Step) bool {
	for _, s := range steps {
		if s.State == Open {
			return false
		}
	}
	return true
}
