package addon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// State is how far an add-on is in a cluster.
type State string

// The states. One that is Begun was interrupted, or its proof failed: up
// goes on with it, down removes what there is.
const (
	Absent  State = "absent"
	Begun   State = "begun"
	Up      State = "up"
	Leaving State = "leaving"
	// Foreign is a component that the cluster has by itself.
	Foreign State = "the cluster's own"
)

const (
	markerNamespace = "kube-system"
	// holdPrefix begins the annotations by which labctl processes hold an
	// add-on: RFC 3339, moved on while the process lives. So one that was
	// killed holds nothing for long.
	holdPrefix = "hold.labctl.dev/"
	hold       = 20 * time.Second
	renew      = 5 * time.Second
)

// marker is what a cluster remembers of an add-on, a ConfigMap beside the
// add-on's own objects: the first thing that is made and the last that goes.
type marker struct {
	state State
	// kept says that a person brought it up: it outlives the runs that use it.
	kept bool
	// print is the fingerprint of what was applied.
	print string
	holds map[string]time.Time
}

func markerName(addon string) string { return "labctl-addon-" + addon }

func readMarker(cm *corev1.ConfigMap) marker {
	m := marker{
		state: State(cm.Data["state"]), kept: cm.Data["kept"] == "true",
		print: cm.Data["fingerprint"], holds: map[string]time.Time{},
	}
	for key, value := range cm.Annotations {
		if id, ok := strings.CutPrefix(key, holdPrefix); ok {
			until, _ := time.Parse(time.RFC3339, value) // what is no time holds nothing
			m.holds[id] = until
		}
	}
	return m
}

// write puts the marker into its ConfigMap; holds that have ended go.
func (m marker) write(cm *corev1.ConfigMap) {
	cm.Data = map[string]string{"state": string(m.state), "fingerprint": m.print}
	if m.kept {
		cm.Data["kept"] = "true"
	}
	for key := range cm.Annotations {
		if strings.HasPrefix(key, holdPrefix) {
			delete(cm.Annotations, key)
		}
	}
	for id, until := range m.holds {
		if time.Now().Before(until) {
			metav1.SetMetaDataAnnotation(&cm.ObjectMeta, holdPrefix+id, until.UTC().Format(time.RFC3339))
		}
	}
}

// other is until when another process holds the add-on; zero if none does.
func (m marker) other(id string) time.Time {
	var last time.Time
	for who, until := range m.holds {
		if who != id && until.After(time.Now()) && until.After(last) {
			last = until
		}
	}
	return last
}

// marker reads an add-on's marker; absent is no error.
func (s *Set) marker(ctx context.Context, name string) (marker, error) {
	cm, err := s.typed.CoreV1().ConfigMaps(markerNamespace).Get(ctx, markerName(name), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return marker{state: Absent}, nil
	}
	if err != nil {
		return marker{}, err
	}
	if cm.Labels[Label] != name {
		return marker{}, fmt.Errorf("ConfigMap %s/%s is there and isn't labctl's; it is left alone: remove it, then run again", markerNamespace, cm.Name)
	}
	return readMarker(cm), nil
}

// errKeep ends a change of a marker without writing it.
var errKeep = errors.New("nothing to write")

// change changes an add-on's marker, again if another process was faster. A
// marker that is Absent is made; one that change makes Absent is removed.
func (s *Set) change(ctx context.Context, name string, change func(*marker) error) error {
	client := s.typed.CoreV1().ConfigMaps(markerNamespace)
	for {
		cm, err := client.Get(ctx, markerName(name), metav1.GetOptions{})
		there := err == nil
		m := marker{state: Absent, holds: map[string]time.Time{}}
		switch {
		case there && cm.Labels[Label] != name:
			_, err := s.marker(ctx, name)
			return err
		case there:
			m = readMarker(cm)
		case apierrors.IsNotFound(err):
			cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
				Name: markerName(name), Labels: map[string]string{ManagedByLabel: ManagedBy, Label: name},
			}}
		default:
			return err
		}
		if err := change(&m); err != nil {
			if errors.Is(err, errKeep) {
				return nil
			}
			return err
		}
		m.write(cm)
		switch {
		case m.state == Absent && there:
			err = client.Delete(ctx, cm.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &cm.UID, ResourceVersion: &cm.ResourceVersion}})
		case m.state == Absent:
			return nil
		case there:
			_, err = client.Update(ctx, cm, metav1.UpdateOptions{FieldManager: fieldManager})
		default:
			_, err = client.Create(ctx, cm, metav1.CreateOptions{FieldManager: fieldManager})
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return err
		}
		if err := pause(ctx, poll/3); err != nil {
			return err
		}
	}
}

// renewal moves this process's hold on until stop is called.
func (s *Set) renewal(ctx context.Context, name string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		for pause(ctx, renew) == nil {
			// One that fails is made up for by the next: hold is several renewals long.
			_ = s.change(ctx, name, func(m *marker) error {
				if m.state == Absent {
					return errKeep
				}
				m.holds[s.id] = time.Now().Add(hold)
				return nil
			})
		}
	}()
	return cancel
}
