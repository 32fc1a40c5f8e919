package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

type waitVerb struct {
	step          *Step
	timeout, hold time.Duration
}

func newWait(s *Step, whole time.Duration) (verb, error) {
	w := s.Wait
	if err := w.check(); err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	if w.For == "" {
		return nil, errors.New("wait: for is missing")
	}
	v := &waitVerb{step: s}
	var err error
	if v.timeout, err = limit("wait: timeout", w.Timeout, stepTimeout, whole); err != nil {
		return nil, err
	}
	if v.hold, err = limit("wait: hold", w.Hold, 0, whole); err != nil {
		return nil, err
	}
	return v, nil
}

func (v *waitVerb) outputs() []evidence.Output {
	return []evidence.Output{
		{Name: "met", Type: evidence.Bool, Doc: "the condition was met"},
		{Name: "after", Type: evidence.Duration, Doc: "from the step's start until it was met, or until it was given up"},
	}
}

func (v *waitVerb) prepare(n Names) (action, error) {
	target, err := v.step.Wait.filled(n)
	if err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	text, err := n.Expression(v.step.Wait.For)
	if err != nil {
		return nil, fmt.Errorf("wait: for: %w", err)
	}
	condition, err := Compile(text, evidence.Bool, target.one())
	if err != nil {
		return nil, fmt.Errorf("wait: for: %w", err)
	}
	return func(ctx context.Context, w *world) (evidence.Set, error) {
		start := time.Now()
		client, namespace, err := w.resource(ctx, target)
		if err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, v.timeout+v.hold)
		defer cancel()
		met, last, err := until(limited, follow(limited, client, target), target.one(), condition, v.hold)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w; %s", context.Cause(ctx), w.explain(ctx, target, namespace, last.items))
		}
		if err != nil {
			return nil, fmt.Errorf("%w; %s", err, w.explain(ctx, target, namespace, last.items))
		}
		after := last.at.Sub(start)
		if !met {
			after = time.Since(start)
		}
		source := evidence.Source{Kind: "object", Ref: target.String() + ": " + text, Where: where}
		set := evidence.Set{
			{Name: "met", Type: evidence.Bool, Value: met, Source: source},
			{Name: "after", Type: evidence.Duration, Value: after, Source: evidence.Source{Kind: "clock", Ref: "monotonic, from the step's start", Where: where}},
		}
		if !met {
			return set, &unmet{fmt.Errorf("%s: not met after %s; %s", text, v.timeout, w.explain(ctx, target, namespace, last.items))}
		}
		return set, nil
	}, nil
}

// until waits until the condition holds, and has held for hold. The change is
// the one by which it was met, or the last one. An error is one that the
// condition gave to the end of what is there: it asks for what isn't.
func until(ctx context.Context, changes <-chan change, one bool, condition *Expression, hold time.Duration) (met bool, last change, err error) {
	var held <-chan time.Time // runs while the condition holds
	var since change
	var broken error
	for {
		select {
		case c, open := <-changes:
			if !open {
				return false, last, hint(broken)
			}
			if c.err != nil {
				return false, last, c.err
			}
			last = c
			var holds bool
			holds, broken = condition.Holds(ctx, Objects{One: one, Items: c.items})
			if broken != nil && one && len(c.items) == 0 {
				broken = nil // nothing is there to look at yet
			}
			switch {
			case !holds:
				held = nil
			case hold == 0:
				return true, c, nil
			case held == nil:
				since, held = c, time.After(hold)
			}
		case <-held:
			since.items = last.items
			return true, since, nil
		case <-ctx.Done():
			return false, last, hint(broken)
		}
	}
}

// hint says what to do about a condition that asks for what isn't there.
func hint(broken error) error {
	if broken == nil {
		return nil
	}
	return fmt.Errorf("%w; what may not be there is asked for with object.?status.?field.orValue(…) or has()", broken)
}

type getVerb struct {
	step   *Step
	values []evidence.Output
}

func newGet(s *Step) (verb, error) {
	if err := s.Get.check(); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	values, err := declareValues(s.Values)
	if err != nil {
		return nil, err
	}
	if len(values) == 0 {
		return nil, errors.New("values: are missing; say what get reads")
	}
	return &getVerb{s, values}, nil
}

func (v *getVerb) outputs() []evidence.Output { return v.values }

func (v *getVerb) prepare(n Names) (action, error) {
	target, err := v.step.Get.filled(n)
	if err != nil {
		return nil, fmt.Errorf("get: %w", err)
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
		objects := Objects{One: target.one()}
		if target.one() {
			o, err := client.Get(ctx, target.Name, metav1.GetOptions{})
			switch {
			case err == nil:
				objects.Items = append(objects.Items, o.Object)
			case !apierrors.IsNotFound(err):
				return nil, fmt.Errorf("%s: %w", target, err)
			}
		} else {
			list, err := client.List(ctx, target.options())
			if err != nil {
				return nil, fmt.Errorf("%s: %w", target, err)
			}
			for _, o := range list.Items {
				objects.Items = append(objects.Items, o.Object)
			}
		}
		return read(ctx, reads, objects, target.String())
	}, nil
}

// read evaluates values over objects. One that gives null, or an optional
// without a value, is left out.
func read(ctx context.Context, reads []reader, objects Objects, what string) (evidence.Set, error) {
	var set evidence.Set
	for _, r := range reads {
		v, err := r.Expression.Value(ctx, r.Type, objects)
		if err != nil {
			if objects.One && len(objects.Items) == 0 {
				err = fmt.Errorf("there is no %s: %w", what, err)
			}
			return nil, fmt.Errorf("value %s: %w", r.Name, err)
		}
		if v == nil {
			continue
		}
		set = append(set, evidence.Value{
			Name: r.Name, Type: r.Type, Value: v, Unit: r.Unit,
			Source: evidence.Source{Kind: "object", Ref: what + ": " + r.CEL, Where: where},
		})
	}
	return set, nil
}
