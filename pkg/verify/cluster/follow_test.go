package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// served is an API server's side of lists and watches: what it answers to each,
// in order. Objects are written name@version.
type served struct {
	dynamic.ResourceInterface
	lists   []any // texts "version: objects", or errors
	watches []any // lists of events "+a@1", "~a@2", "-a@3", or errors
	from    []string
}

func (s *served) List(ctx context.Context, _ metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	if len(s.lists) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	next := s.lists[0]
	s.lists = s.lists[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	version, objects, _ := strings.Cut(next.(string), ":")
	list := &unstructured.UnstructuredList{}
	list.SetResourceVersion(version)
	for _, o := range strings.Fields(objects) {
		list.Items = append(list.Items, *object(o))
	}
	return list, nil
}

func object(text string) *unstructured.Unstructured {
	name, version, _ := strings.Cut(text, "@")
	o := &unstructured.Unstructured{Object: map[string]any{"kind": "Pod"}}
	o.SetName(name)
	o.SetResourceVersion(version)
	return o
}

func (s *served) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	s.from = append(s.from, options.ResourceVersion)
	if len(s.watches) == 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	next := s.watches[0]
	s.watches = s.watches[1:]
	if err, ok := next.(error); ok {
		return nil, err
	}
	w := watch.NewFakeWithChanSize(10, false)
	for _, e := range next.([]string) {
		switch e[0] {
		case '+':
			w.Add(object(e[1:]))
		case '~':
			w.Modify(object(e[1:]))
		case '-':
			w.Delete(object(e[1:]))
		case '!':
			w.Error(&metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired})
		}
	}
	w.Stop()
	return w, nil
}

// TestFollow wants every state that the API server shows, once, whatever ends
// its watches.
func TestFollow(t *testing.T) {
	podsResource := schema.GroupResource{Resource: "pods"}
	expired := apierrors.NewResourceExpired("too old")
	for name, c := range map[string]struct {
		served served
		one    string
		want   []string // states; the last may be an error's text
		from   []string
	}{
		"a watch that ends": {
			served: served{lists: []any{"5: a@1"}, watches: []any{[]string{"+b@6"}, []string{"~b@7", "-a@8"}}},
			want:   []string{"a@1", "a@1 b@6", "a@1 b@7", "b@7"}, from: []string{"5", "6", "8"},
		},
		"forgotten between": {
			served: served{lists: []any{"5: a@1", "20: b@12"}, watches: []any{[]string{"~a@6"}, expired, []string{"~b@21"}}},
			want:   []string{"a@1", "a@6", "b@12", "b@21"}, from: []string{"5", "6", "20", "21"},
		},
		"forgotten within": {
			served: served{lists: []any{"5: a@1", "20: a@1"}, watches: []any{[]string{"!"}, []string{"-a@21"}}},
			want:   []string{"a@1", ""}, from: []string{"5", "20", "21"},
		},
		"not there, then there": {
			served: served{lists: []any{"5:"}, watches: []any{[]string{"+a@6"}}},
			one:    "a", want: []string{"", "a@6"}, from: []string{"5", "6"},
		},
		"can't be watched": {
			served: served{lists: []any{"5: a@1", "6: a@1", "7: a@2"}, watches: []any{
				apierrors.NewMethodNotSupported(podsResource, "watch"), apierrors.NewMethodNotSupported(podsResource, "watch"), []string{},
			}},
			want: []string{"a@1", "a@2"}, from: []string{"5", "6", "7", "7"},
		},
		"has no versions": {
			served: served{lists: []any{": a@1", ": a@1", ": a@2"}},
			want:   []string{"a@1", "a@2"},
		},
		"down for a moment": {
			served: served{lists: []any{errors.New("connection refused"), "5: a@1"}, watches: []any{errors.New("connection refused"), []string{"-a@6"}}},
			want:   []string{"a@1", ""}, from: []string{"5", "5", "6"},
		},
		"forbidden": {
			served: served{lists: []any{apierrors.NewForbidden(podsResource, "", errors.New("no"))}},
			want:   []string{"listing: pods is forbidden: no"},
		},
		"forbidden to watch": {
			served: served{lists: []any{"5: a@1"}, watches: []any{apierrors.NewForbidden(podsResource, "", errors.New("no"))}},
			want:   []string{"a@1", "watching: pods is forbidden: no"}, from: []string{"5"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			all := ""
			target := Target{Kind: "Pod", Name: c.one, Selector: &all}
			if c.one != "" {
				target.Selector = nil
			}
			changes := follow(ctx, &c.served, target)
			var got []string
			for range c.want {
				x := <-changes
				if x.err != nil {
					got = append(got, x.err.Error())
					continue
				}
				var state []string
				for _, o := range x.items {
					u := unstructured.Unstructured{Object: o}
					state = append(state, u.GetName()+"@"+u.GetResourceVersion())
				}
				got = append(got, strings.Join(state, " "))
			}
			cancel()
			if x, open := <-changes; open {
				t.Errorf("one change too many: %v", x)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			// The last watch may not have been asked for yet.
			if n := len(c.served.from); n > len(c.from) || !slices.Equal(c.served.from, c.from[:n]) || n < len(c.from)-1 {
				t.Errorf("watched from %q, want %q", c.served.from, c.from)
			}
		})
	}
}

// TestUntil decides conditions over changes.
func TestUntil(t *testing.T) {
	phase := func(p string) change {
		if p == "" {
			return change{}
		}
		return change{items: []map[string]any{{"phase": p}}}
	}
	for name, c := range map[string]struct {
		phases []string
		cel    string
		met    bool
		broken string
	}{
		"met":                 {[]string{"", "Pending", "Running"}, "object.phase == 'Running'", true, ""},
		"never":               {[]string{"Pending"}, "object.phase == 'Running'", false, ""},
		"never there":         {[]string{""}, "object.phase == 'Running'", false, ""},
		"gone":                {[]string{"Running", ""}, "object == null", true, ""},
		"a misspelt field":    {[]string{"Pending", "Running"}, "object.phaze == 'Running'", false, "no such key: phaze"},
		"misspelt, then gone": {[]string{"Running", ""}, "object.phaze == 'Running'", false, ""},
		"an optional field":   {[]string{"Running"}, "object.?phaze.orValue('') == 'Running'", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			condition, err := Compile(c.cel, evidence.Bool, true)
			if err != nil {
				t.Fatal(err)
			}
			changes := make(chan change, len(c.phases))
			for _, p := range c.phases {
				changes <- phase(p)
			}
			close(changes)
			met, _, err := until(t.Context(), changes, true, condition, 0)
			if met != c.met || (err == nil) != (c.broken == "") || !strings.Contains(fmt.Sprint(err), c.broken) {
				t.Errorf("met %v, %v; want %v, %q", met, err, c.met, c.broken)
			}
		})
	}
}
