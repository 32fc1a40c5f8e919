package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

type watchVerb struct {
	step   *Step
	values []evidence.Output // as declared
}

func newWatch(s *Step) (verb, error) {
	if err := s.Watch.check(); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	values, err := declareValues(s.Values, evidence.Int, evidence.Double)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		if v.Name == "changes" {
			return nil, errors.New("values: changes is what the step gives already")
		}
	}
	return &watchVerb{s, values}, nil
}

func (v *watchVerb) outputs() []evidence.Output {
	out := []evidence.Output{{Name: "changes", Type: evidence.Int, Unit: "count", Doc: "changes of the objects that were seen"}}
	for _, o := range v.values {
		for _, part := range spanNames {
			out = append(out, evidence.Output{Name: o.Name + "." + part, Type: o.Type, Unit: o.Unit, Doc: o.Doc})
		}
	}
	return out
}

func (v *watchVerb) prepare(n Names) (action, error) {
	target, err := v.step.Watch.filled(n)
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	reads, err := readers(n, v.step.Values, target.one())
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		client, _, err := w.resource(ctx, target)
		if err != nil {
			return nil, err
		}
		following, cancel := context.WithCancel(ctx)
		x := &watching{
			step: w.step, until: v.step.Until, client: client, target: target, reads: reads,
			cancel: cancel, changes: follow(following, client, target),
			current: make(chan map[string]bool, 1), started: make(chan struct{}), done: make(chan struct{}),
			seen: map[string]bool{}, ranges: make([]span, len(reads)),
		}
		go x.run(following)
		w.watches = append(w.watches, x)
		select { // it looks from here on, not from some moment later
		case <-x.started:
			return nil, nil
		case <-x.done:
			return nil, x.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}, nil
}

// watching is a watch at work.
type watching struct {
	step    step
	until   string
	client  dynamic.ResourceInterface
	target  Target
	reads   []reader
	cancel  context.CancelFunc
	changes <-chan change
	current chan map[string]bool // the versions that it has to see before it ends
	started chan struct{}
	done    chan struct{}

	// What run writes; to be read once done is closed.
	err    error
	count  int64
	seen   map[string]bool // uid@version of every object that was seen
	ranges []span
}

var spanNames = []string{"min", "max", "first", "last"}

// span is what a value was over time; nil before it had one.
type span struct{ min, max, first, last any }

// run looks at every change until it is told to end and has caught up.
func (x *watching) run(ctx context.Context) {
	defer close(x.done)
	var wanted map[string]bool
	began := false
	for {
		select {
		case wanted = <-x.current:
		case c, open := <-x.changes:
			if !open {
				x.err = context.Cause(ctx)
				return
			}
			if x.err = c.err; x.err == nil {
				x.err = x.look(ctx, c, began)
			}
			if x.err != nil {
				return
			}
			if !began {
				began = true
				close(x.started)
			}
		}
		if wanted != nil && x.caughtUp(wanted) {
			return
		}
	}
}

func (x *watching) look(ctx context.Context, c change, count bool) error {
	for _, o := range c.items {
		x.seen[version(&unstructured.Unstructured{Object: o})] = true
	}
	if count {
		x.count++
	}
	for i, r := range x.reads {
		v, err := r.Expression.Value(ctx, r.Type, Objects{One: x.target.one(), Items: c.items})
		switch {
		case err != nil && x.target.one() && len(c.items) == 0, err == nil && v == nil:
		case err != nil:
			return fmt.Errorf("value %s: %w", r.Name, err)
		default:
			x.ranges[i].add(v)
		}
	}
	return nil
}

func (s *span) add(v any) {
	if s.first == nil {
		*s = span{v, v, v, v}
		return
	}
	if less(v, s.min) {
		s.min = v
	}
	if less(s.max, v) {
		s.max = v
	}
	s.last = v
}

func less(a, b any) bool {
	if i, ok := a.(int64); ok {
		return i < b.(int64) // values of one declared type
	}
	return a.(float64) < b.(float64) // as above
}

func version(o *unstructured.Unstructured) string {
	return string(o.GetUID()) + "@" + o.GetResourceVersion()
}

func (x *watching) caughtUp(wanted map[string]bool) bool {
	for v := range wanted {
		if !x.seen[v] {
			return false
		}
	}
	return true
}

// catchUpLimit is how long a watch may take to see what the API server shows
// at its end; it comes milliseconds later.
const catchUpLimit = 5 * time.Second

// end lets the watch catch up with what is there now, and gives what it saw.
func (x *watching) end(ctx context.Context) (evidence.Set, error) {
	defer x.cancel()
	list, err := x.client.List(ctx, x.target.options())
	if err != nil {
		return nil, fmt.Errorf("listing at the end of the watch: %w", err)
	}
	wanted := map[string]bool{}
	for _, o := range list.Items {
		if o.GetResourceVersion() != "" && (!x.target.one() || o.GetName() == x.target.Name) {
			wanted[version(&o)] = true
		}
	}
	x.current <- wanted
	select {
	case <-x.done:
	case <-time.After(catchUpLimit):
		return nil, errors.New("the watch didn't catch up with what the API server shows")
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if x.err != nil {
		return nil, x.err
	}
	source := evidence.Source{Kind: "object", Ref: x.target.String() + ": every change", Where: where}
	set := evidence.Set{{Name: "changes", Type: evidence.Int, Value: x.count, Unit: "count", Source: source}}
	for i, r := range x.reads {
		source.Ref = x.target.String() + ": " + r.CEL
		s := x.ranges[i]
		for j, v := range []any{s.min, s.max, s.first, s.last} {
			if v != nil {
				set = append(set, evidence.Value{Name: r.Name + "." + spanNames[j], Type: r.Type, Value: v, Unit: r.Unit, Source: source})
			}
		}
	}
	return set, nil
}

// endWatches ends the watches that which takes, and gives what they saw.
func (w *world) endWatches(ctx context.Context, which func(*watching) bool) (evidence.Set, error) {
	var all evidence.Set
	var going []*watching
	for _, x := range w.watches {
		if !which(x) {
			going = append(going, x)
			continue
		}
		set, err := x.end(ctx)
		if err != nil {
			return nil, x.step.errorf("%w", err)
		}
		all = append(all, set.Under(x.step.As)...)
	}
	w.watches = going
	return all, nil
}
