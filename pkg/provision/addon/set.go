package addon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/gomodule"
)

const (
	// patience is how long an add-on may take from applied to ready. Starting
	// several Pods on a loaded machine of two cores is what takes longest.
	patience = 4 * time.Minute
	// askLimit bounds one question of a Ready check.
	askLimit = 20 * time.Second
)

// Set is the add-ons of one cluster. It is safe for one caller at a time.
type Set struct {
	table     []Addon
	cluster   provision.Cluster
	builder   gomodule.Builder
	manifests fs.FS
	log       progress.Log

	id      string // of this process's holds
	typed   kubernetes.Interface
	objects dynamic.Interface
	server  discovery.DiscoveryInterface
	mapper  *restmapper.DeferredDiscoveryRESTMapper

	mu   sync.Mutex
	held map[string]func() // add-ons that are held, and what ends the renewal
}

// New makes the Set of a cluster. manifests has a folder for each add-on that
// has manifests.
func New(cluster provision.Cluster, table []Addon, builder gomodule.Builder, manifests fs.FS) (*Set, error) {
	config := rest.CopyConfig(cluster.RESTConfig())
	config.WarningHandlerWithContext = rest.NoWarnings{}
	s := &Set{
		table: table, cluster: cluster, builder: builder, manifests: manifests, log: builder.Log,
		id: strings.ToLower(rand.Text())[:12], held: map[string]func(){},
	}
	var err error
	if s.typed, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	if s.objects, err = dynamic.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	if s.server, err = discovery.NewDiscoveryClientForConfig(config); err != nil {
		return nil, fmt.Errorf("client of the cluster: %w", err)
	}
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(s.server))
	return s, nil
}

// Up brings an add-on up, or to what this labctl has, and returns when it is
// ready, with its images' references by their short names. It is held until
// Release: no other labctl removes it. An *evidence.Untestable is one that
// this machine or cluster can't have.
func (s *Set) Up(ctx context.Context, name string) (map[string]string, error) {
	return s.up(ctx, name, false)
}

// Quiet says whether the add-on changes nothing for what doesn't name it.
func (s *Set) Quiet(name string) bool {
	a, ok := find(s.table, name)
	return ok && a.Quiet
}

// Keep brings an add-on up that stays until Remove.
func (s *Set) Keep(ctx context.Context, name string) error {
	_, err := s.up(ctx, name, true)
	return errors.Join(err, s.Release(ctx))
}

func (s *Set) up(ctx context.Context, name string, keep bool) (images map[string]string, err error) {
	a, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if own, err := s.owns(ctx, a); err != nil || own {
		if err == nil {
			s.log.Info("%s: the cluster has its own; it is used as it is", name)
			err = s.ready(ctx, a, nil)
		}
		return nil, wrap(name, err)
	}
	step := s.log.Start("Add-on " + name)
	defer func() { step.End(err) }()
	objects, refs, err := s.render(ctx, a)
	if err != nil {
		return nil, wrap(name, err)
	}
	print, err := fingerprint(objects, refs)
	if err != nil {
		return nil, wrap(name, err)
	}
	done, err := s.claim(ctx, a, print, keep)
	if err != nil {
		return nil, wrap(name, err)
	}
	if images, err = s.images(ctx, a); err != nil {
		return nil, wrap(name, err)
	}
	if !done {
		if err := s.install(ctx, a, objects); err != nil {
			return nil, wrap(name, err)
		}
	}
	step.Update(0, 0, "waiting until it is ready")
	if err := s.ready(ctx, a, objects); err != nil {
		return nil, wrap(name, err)
	}
	err = s.change(ctx, name, func(m *marker) error {
		m.state, m.holds[s.id] = Up, time.Now().Add(hold)
		return nil
	})
	return images, wrap(name, err)
}

func wrap(name string, err error) error {
	var untestable *evidence.Untestable
	switch {
	case err == nil:
		return nil
	case errors.As(err, &untestable):
		return evidence.Untestablef("add-on %s: %s", name, untestable.Reason)
	}
	return fmt.Errorf("add-on %s: %w", name, err)
}

func (s *Set) find(name string) (Addon, error) {
	a, ok := find(s.table, name)
	if !ok {
		return a, fmt.Errorf("unknown add-on %q; there are: %s", name, strings.Join(Names(s.table), ", "))
	}
	return a, nil
}

// render is everything that the add-on applies, and its images' references.
func (s *Set) render(ctx context.Context, a Addon) ([]*unstructured.Unstructured, map[string]string, error) {
	refs := map[string]string{}
	for _, i := range a.Images {
		ref, err := i.reference(s.builder.Sources)
		if err != nil {
			return nil, nil, err
		}
		refs[i.Name] = inPods(s.cluster, ref)
	}
	var objects []*unstructured.Unstructured
	for _, u := range a.Upstream {
		dir, err := s.builder.Files(ctx, u.Module, u.Requires, u.Files...)
		if err != nil {
			return nil, nil, unavailable(err)
		}
		more, err := read(os.DirFS(dir), a.Name, nil)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, more...)
	}
	if a.Manifests {
		dir, err := fs.Sub(s.manifests, a.Name)
		if err != nil {
			return nil, nil, err
		}
		more, err := read(dir, a.Name, refs)
		if err != nil {
			return nil, nil, err
		}
		objects = append(objects, more...)
	}
	return objects, refs, nil
}

// claim holds the add-on for this process. It says whether it is up already,
// just so; what another labctl applied differently is removed first.
func (s *Set) claim(ctx context.Context, a Addon, print string, keep bool) (done bool, err error) {
	var seen time.Time // until when another version holds it
	for {
		next := Begun
		err := s.change(ctx, a.Name, func(m *marker) error {
			busy := !m.other(s.id).IsZero()
			switch {
			case m.state == Leaving && busy:
				next = Leaving // wait until it is gone
				return errKeep
			case m.state == Leaving, m.state != Absent && m.print != print && !busy:
				next = Absent // what is left of it goes first
				m.state = Leaving
			case m.state != Absent && m.print != print:
				until := m.other(s.id)
				if !seen.IsZero() && until.After(seen) {
					return errors.New("another version of labctl uses it in this cluster; wait for it to end")
				}
				seen, next = until, Leaving // it may have been killed; wait
				return errKeep
			case m.state == Up:
				next = Up
			default:
				next, m.state, m.print = Begun, Begun, print
			}
			m.kept = m.kept || keep
			m.holds[s.id] = time.Now().Add(hold)
			return nil
		})
		if err != nil {
			return false, err
		}
		switch next {
		case Leaving:
			if err := pause(ctx, poll); err != nil {
				return false, fmt.Errorf("waiting for another labctl: %w", err)
			}
			continue
		case Absent:
			stop := s.renewal(ctx, a.Name)
			err := s.remove(ctx, a)
			stop()
			if err != nil {
				return false, err
			}
			continue
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held[a.Name] == nil {
			s.held[a.Name] = s.renewal(ctx, a.Name)
		}
		return next == Up, nil
	}
}

// install puts the add-on into the cluster.
func (s *Set) install(ctx context.Context, a Addon, objects []*unstructured.Unstructured) error {
	if err := s.foreign(ctx, a, objects); err != nil {
		return err
	}
	if err := s.nodes(ctx, a.NodeUp); err != nil {
		return err
	}
	return s.apply(ctx, objects)
}

func (s *Set) nodes(ctx context.Context, hook func(context.Context, Node) error) error {
	if hook == nil {
		return nil
	}
	for _, name := range s.cluster.Nodes() {
		n := Node{Place: s.cluster.Node(name), Cluster: s.cluster, Builder: s.builder, Log: s.log}
		if err := hook(ctx, n); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// ready asks until the add-on is there, works, or the patience ends.
func (s *Set) ready(ctx context.Context, a Addon, objects []*unstructured.Unstructured) error {
	deadline := time.Now().Add(patience)
	for {
		ask, cancel := context.WithTimeout(ctx, askLimit)
		err := s.rolledOut(ask, objects)
		if err == nil && a.Ready != nil {
			err = a.Ready(ask, s.cluster)
		}
		cancel()
		var untestable *evidence.Untestable
		switch {
		case err == nil, errors.As(err, &untestable):
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("it isn't ready after %v: %w", patience, err)
		}
		if ended := pause(ctx, poll); ended != nil {
			return fmt.Errorf("%w; until then: %w", ended, err)
		}
	}
}

// Release ends this process's holds; what nobody keeps or holds is removed.
func (s *Set) Release(ctx context.Context) error {
	s.mu.Lock()
	held := s.held
	s.held = map[string]func(){}
	s.mu.Unlock()
	var errs []error
	for _, name := range slices.Backward(sortedKeys(held)) {
		errs = append(errs, wrap(name, s.release(ctx, name, held[name])))
	}
	return errors.Join(errs...)
}

func (s *Set) release(ctx context.Context, name string, stop func()) error {
	defer stop()
	a, err := s.find(name)
	if err != nil {
		return err
	}
	last := false
	err = s.change(ctx, name, func(m *marker) error {
		last = m.state != Absent && !m.kept && m.other(s.id).IsZero()
		switch {
		case m.state == Absent:
			return errKeep
		case last:
			m.state, m.holds[s.id] = Leaving, time.Now().Add(hold)
		default:
			delete(m.holds, s.id)
		}
		return nil
	})
	if err != nil || !last {
		stop()
		return err
	}
	return s.remove(ctx, a)
}

// KeepHeld ends this process's holds as well, but what was held stays until
// Remove.
func (s *Set) KeepHeld(ctx context.Context) error {
	s.mu.Lock()
	held := s.held
	s.held = map[string]func(){}
	s.mu.Unlock()
	var errs []error
	for _, name := range sortedKeys(held) {
		held[name]()
		errs = append(errs, wrap(name, s.change(ctx, name, func(m *marker) error {
			if m.state == Absent {
				return errKeep
			}
			m.kept = true
			delete(m.holds, s.id)
			return nil
		})))
	}
	return errors.Join(errs...)
}

// Away sees that the add-on isn't in the cluster. Where it is the cluster's
// own, kept by a person or held by another labctl, it stays, and the error is
// an *evidence.Untestable.
func (s *Set) Away(ctx context.Context, name string) error {
	a, err := s.find(name)
	if err != nil {
		return err
	}
	if own, err := s.owns(ctx, a); err != nil || own {
		if err == nil {
			err = evidence.Untestablef("the cluster has its own, and this is about a cluster without")
		}
		return wrap(name, err)
	}
	gone := false
	err = s.change(ctx, name, func(m *marker) error {
		switch {
		case m.state == Absent:
			gone = true
			return errKeep
		case m.kept:
			return evidence.Untestablef("it is up to stay, and this is about a cluster without; remove it with: labctl addon down %s", name)
		case !m.other(s.id).IsZero():
			return evidence.Untestablef("another run of labctl uses it, and this is about a cluster without")
		}
		m.state, m.holds[s.id] = Leaving, time.Now().Add(hold)
		return nil
	})
	if err != nil || gone {
		return wrap(name, err)
	}
	s.mu.Lock()
	stop := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if stop == nil {
		stop = s.renewal(ctx, name)
	}
	defer stop()
	return wrap(name, s.remove(ctx, a))
}

// Remove removes an add-on, and nothing that isn't labctl's; it is no error
// if it isn't there. It waits for a killed labctl's hold to end.
func (s *Set) Remove(ctx context.Context, name string) error {
	a, err := s.find(name)
	if err != nil {
		return err
	}
	if own, err := s.owns(ctx, a); err != nil || own {
		if err == nil {
			err = errors.New("it is the cluster's own and stays")
		}
		return wrap(name, err)
	}
	var seen time.Time
	for {
		var until time.Time
		err := s.change(ctx, name, func(m *marker) error {
			if until = m.other(s.id); !until.IsZero() {
				return errKeep
			}
			// Also where the marker was lost: objects may be there.
			m.state, m.kept, m.holds[s.id] = Leaving, false, time.Now().Add(hold)
			return nil
		})
		if err != nil {
			return wrap(name, err)
		}
		if until.IsZero() {
			break
		}
		if !seen.IsZero() && until.After(seen) {
			return wrap(name, errors.New("another run of labctl uses it; wait for it to end"))
		}
		seen = until
		if err := pause(ctx, poll); err != nil {
			return wrap(name, err)
		}
	}
	defer s.renewal(ctx, name)()
	return wrap(name, s.remove(ctx, a))
}

// RemoveIfOurs is Remove for an add-on that is labctl's; the cluster's own,
// and one that isn't there, are left alone.
func (s *Set) RemoveIfOurs(ctx context.Context, name string) error {
	a, err := s.find(name)
	if err != nil {
		return err
	}
	if own, err := s.owns(ctx, a); err != nil || own {
		return wrap(name, err)
	}
	m, err := s.marker(ctx, name)
	if err != nil || m.state == Absent {
		return wrap(name, err)
	}
	return s.Remove(ctx, name)
}

// remove takes the add-on out of the cluster; it is marked as Leaving, and
// held.
func (s *Set) remove(ctx context.Context, a Addon) (err error) {
	step := s.log.Start("Removing add-on " + a.Name)
	defer func() { step.End(err) }()
	if err := s.clear(ctx, a.Name); err != nil {
		return err
	}
	if err := s.nodes(ctx, a.NodeDown); err != nil {
		return err
	}
	return s.change(ctx, a.Name, func(m *marker) error {
		m.state = Absent
		return nil
	})
}

// Status is one add-on in a cluster.
type Status struct {
	Name    string `json:"name"`
	State   State  `json:"state"`
	Version string `json:"version,omitempty"`
	Doc     string `json:"doc"`
}

// List says of every add-on whether it is up.
func (s *Set) List(ctx context.Context) ([]Status, error) {
	out := Describe(s.table, s.builder.Sources)
	for i, a := range s.table {
		own, err := s.owns(ctx, a)
		if err != nil {
			return nil, wrap(a.Name, err)
		}
		if own {
			out[i].State = Foreign
			continue
		}
		m, err := s.marker(ctx, a.Name)
		if err != nil {
			return nil, wrap(a.Name, err)
		}
		out[i].State = m.state
	}
	return out, nil
}

// Describe is the table without a cluster. The version is that of the first
// image.
func Describe(table []Addon, src gomodule.Sources) []Status {
	out := make([]Status, len(table))
	for i, a := range table {
		out[i] = Status{Name: a.Name, Doc: a.Doc}
		if len(a.Images) > 0 {
			// One that isn't pinned is a mistake that the table's test finds.
			out[i].Version, _ = src.Version(a.Images[0].Module, a.Images[0].Requires)
		}
	}
	return out
}
