package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// change is how the objects are at a moment.
type change struct {
	at    time.Time
	items []map[string]any // in the order of namespaces and names
	err   error            // it can't be followed any more
}

const (
	// retryPause keeps a request that fails at once from becoming a busy loop.
	retryPause = 200 * time.Millisecond
	// pollPause is for objects that can't be watched (metrics.k8s.io).
	pollPause = 250 * time.Millisecond
)

// options select a target's objects.
func (t Target) options() metav1.ListOptions {
	if t.one() {
		return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, t.Name).String()}
	}
	return metav1.ListOptions{LabelSelector: *t.Selector}
}

// follow gives how a target's objects are now, and then after every change,
// none left out, until ctx ends or it can't go on. An API server that doesn't
// answer is asked again: it may be what the scenario restarts.
func follow(ctx context.Context, client dynamic.ResourceInterface, target Target) <-chan change {
	f := &follower{client: client, target: target, out: make(chan change)}
	go func() {
		defer close(f.out)
		if err := f.run(ctx); err != nil && ctx.Err() == nil {
			f.send(ctx, change{err: err})
		}
	}()
	return f.out
}

type follower struct {
	client dynamic.ResourceInterface
	target Target
	out    chan change
	items  map[string]*unstructured.Unstructured // by namespace/name; nil before the first list
}

func (f *follower) run(ctx context.Context) error {
	version := "" // from which to watch on; empty where it has to be listed anew
	for ctx.Err() == nil {
		if version == "" {
			list, err := f.client.List(ctx, f.target.options())
			if err != nil {
				if final(err) {
					return fmt.Errorf("listing: %w", err)
				}
				_ = sleep(ctx, retryPause) // the loop looks at ctx
				continue
			}
			f.reset(ctx, list.Items)
			if version = list.GetResourceVersion(); version == "" || version == "0" {
				version = ""
				_ = sleep(ctx, pollPause) // as above
				continue
			}
		}
		var err error
		if version, err = f.watch(ctx, version); err != nil {
			return err
		}
	}
	return nil
}

// final says whether a request's error stays if it is asked again.
func final(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false // no answer
	}
	code := status.Status().Code
	return code >= 400 && code < 500 && code != http.StatusTooManyRequests
}

// watch follows from a version on; it returns the version that it came to,
// empty where the server has forgotten it.
func (f *follower) watch(ctx context.Context, version string) (string, error) {
	options := f.target.options()
	options.ResourceVersion, options.AllowWatchBookmarks = version, true
	w, err := f.client.Watch(ctx, options)
	switch {
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return "", nil
	case apierrors.IsMethodNotSupported(err):
		_ = sleep(ctx, pollPause) // the caller looks at ctx
		return "", nil
	case err != nil && final(err):
		return "", fmt.Errorf("watching: %w", err)
	case err != nil:
		_ = sleep(ctx, retryPause) // as above
		return version, nil
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		at := time.Now()
		if e.Type == watch.Error {
			if err := apierrors.FromObject(e.Object); apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
				return "", nil
			}
			break
		}
		o, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			break
		}
		version = o.GetResourceVersion()
		switch e.Type {
		case watch.Added, watch.Modified:
			f.items[key(o)] = o
		case watch.Deleted:
			delete(f.items, key(o))
		default:
			continue
		}
		f.send(ctx, f.now(at))
	}
	_ = sleep(ctx, retryPause) // as above
	return version, nil
}

func key(o *unstructured.Unstructured) string { return o.GetNamespace() + "/" + o.GetName() }

// reset takes over a list; it says so only if something is different.
func (f *follower) reset(ctx context.Context, list []unstructured.Unstructured) {
	at := time.Now()
	items := map[string]*unstructured.Unstructured{}
	for _, o := range list {
		if !f.target.one() || o.GetName() == f.target.Name {
			items[key(&o)] = &o
		}
	}
	same := f.items != nil && maps.EqualFunc(items, f.items, func(a, b *unstructured.Unstructured) bool {
		return a.GetResourceVersion() != "" && a.GetResourceVersion() == b.GetResourceVersion() && a.GetUID() == b.GetUID()
	})
	if f.items = items; !same {
		f.send(ctx, f.now(at))
	}
}

func (f *follower) now(at time.Time) change {
	c := change{at: at, items: make([]map[string]any, 0, len(f.items))}
	for _, k := range slices.Sorted(maps.Keys(f.items)) {
		c.items = append(c.items, f.items[k].Object)
	}
	return c
}

func (f *follower) send(ctx context.Context, c change) {
	select {
	case f.out <- c:
	case <-ctx.Done():
	}
}
