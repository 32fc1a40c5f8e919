package cluster

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/node"
)

// Params are the parameters of a scenario.
type Params struct {
	// Steps in their order.
	Steps []Step `json:"steps"`
	// Namespace is the scenario's own.
	Namespace Namespace `json:"namespace,omitempty"`
	// Others are further namespaces, by their short names.
	Others []string `json:"others,omitempty"`
	// Timeout is of the whole, 2m if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Exclusive says that nothing else may be measured meanwhile.
	Exclusive bool `json:"exclusive,omitempty"`
}

// Namespace says what the scenario's own namespace is like.
type Namespace struct {
	Labels map[string]string `json:"labels,omitempty"`
}

// Step is one thing that is done; exactly one of its verbs is set.
type Step struct {
	// As names the step: then what it gives is evidence, also that it was
	// refused, wasn't met, or ended with an error.
	As string `json:"as,omitempty"`
	// Namespace is one of Others, or another one of the cluster, in which
	// things are only read, patched and put back; the scenario's own if absent.
	Namespace string `json:"namespace,omitempty"`

	// Apply is a manifest, Objects are objects in place; Mode is how they are
	// sent.
	Apply   string           `json:"apply,omitempty"`
	Objects []map[string]any `json:"objects,omitempty"`
	Mode    apply.Mode       `json:"mode,omitempty"`

	Patch  *Patch  `json:"patch,omitempty"`
	Delete *Delete `json:"delete,omitempty"`
	Wait   *Wait   `json:"wait,omitempty"`
	Get    *Target `json:"get,omitempty"`
	Watch  *Target `json:"watch,omitempty"`
	// Until is the later step that ends Watch; the scenario's end if absent.
	Until string `json:"until,omitempty"`
	// Values are what is read by Get, at every change by Watch, and from the
	// API server's answer by Apply and Objects.
	Values []Value `json:"values,omitempty"`

	Exec *Container `json:"exec,omitempty"`
	// Labprobe and Command are what Exec runs.
	Labprobe []string   `json:"labprobe,omitempty"`
	Command  []string   `json:"command,omitempty"`
	Logs     *Container `json:"logs,omitempty"`

	Node  *Node            `json:"node,omitempty"`
	Pause *metav1.Duration `json:"pause,omitempty"`
}

// Target is an object by its name, or objects by a selector.
type Target struct {
	// APIVersion is needed only where a kind is in several groups.
	APIVersion string `json:"apiVersion,omitempty"`
	Kind       string `json:"kind"`
	Name       string `json:"name,omitempty"`
	// Selector is a label selector; an empty one takes all.
	Selector *string `json:"selector,omitempty"`
}

// Patch is a JSON merge patch (RFC 7386).
type Patch struct {
	Target
	Merge       map[string]any `json:"merge"`
	Subresource string         `json:"subresource,omitempty"`
}

// Delete says what is deleted, and how.
type Delete struct {
	Target
	// Propagation is Background, Foreground or Orphan; the API server's own
	// choice if absent.
	Propagation metav1.DeletionPropagation `json:"propagation,omitempty"`
	// GracePeriodSeconds is how long Pods have to end; their own if absent.
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds,omitempty"`
	// Evict asks for the eviction of Pods (the eviction subresource), which
	// disruption budgets may refuse.
	Evict bool `json:"evict,omitempty"`
}

// Wait is a condition and how long to wait for it.
type Wait struct {
	Target
	For string `json:"for"`
	// Timeout is 60s if absent; Hold is how long the condition has to stay.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	Hold    *metav1.Duration `json:"hold,omitempty"`
}

// Value is read from objects.
type Value struct {
	Name string        `json:"name"`
	Type evidence.Type `json:"type"`
	Unit string        `json:"unit,omitempty"`
	CEL  string        `json:"cel"`
}

// Container is a container of a Pod; the first one if it has no name.
type Container struct {
	Pod       string `json:"pod"`
	Container string `json:"container,omitempty"`
	// Previous is for logs: of the container before its last restart.
	Previous bool `json:"previous,omitempty"`
	// Timeout is for exec, 60s if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

// Node is a script on a node, as in the family node.
type Node struct {
	Script  string        `json:"script"`
	Outputs []node.Output `json:"outputs"`
	// Node is control-plane (the default), worker, or a node's name.
	Node    string           `json:"node,omitempty"`
	Timeout *metav1.Duration `json:"timeout,omitempty"`
}

const (
	defaultTimeout = 2 * time.Minute
	stepTimeout    = time.Minute
)

var (
	stepName  = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	valueName = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)
)

// verbs lists the verbs that a step has.
func (s *Step) verbs() []string {
	var out []string
	for _, v := range []struct {
		name string
		set  bool
	}{
		{"apply", s.Apply != ""}, {"objects", s.Objects != nil}, {"patch", s.Patch != nil}, {"delete", s.Delete != nil},
		{"wait", s.Wait != nil}, {"get", s.Get != nil}, {"watch", s.Watch != nil}, {"exec", s.Exec != nil},
		{"logs", s.Logs != nil}, {"node", s.Node != nil}, {"pause", s.Pause != nil},
	} {
		if v.set {
			out = append(out, v.name)
		}
	}
	return out
}

// fields are those that only some verbs have.
func (s *Step) fields(verb string) error {
	for _, f := range []struct {
		name  string
		set   bool
		verbs []string
	}{
		{"mode", s.Mode != "", []string{"apply", "objects"}},
		{"values", s.Values != nil, []string{"apply", "objects", "get", "watch"}},
		{"until", s.Until != "", []string{"watch"}},
		{"labprobe", s.Labprobe != nil, []string{"exec"}},
		{"command", s.Command != nil, []string{"exec"}},
	} {
		if f.set && !slices.Contains(f.verbs, verb) {
			return fmt.Errorf("%s belongs to %s, not to %s", f.name, strings.Join(f.verbs, ", "), verb)
		}
	}
	return nil
}

// verb is what a step does. outputs are what it gives if it has a name.
// prepare fills in the names and checks all that can be checked without a
// cluster.
type verb interface {
	outputs() []evidence.Output
	prepare(n Names) (action, error)
}

// verb finds the step's only verb.
func (s *Step) verb(whole time.Duration) (string, verb, error) {
	verbs := s.verbs()
	if len(verbs) != 1 {
		if len(verbs) == 0 {
			return "", nil, errors.New("has no verb; it does one of apply, objects, patch, delete, wait, get, watch, exec, logs, node, pause")
		}
		return "", nil, fmt.Errorf("has the verbs %s; a step does one thing", strings.Join(verbs, " and "))
	}
	name := verbs[0]
	if err := s.fields(name); err != nil {
		return name, nil, err
	}
	var v verb
	var err error
	switch name {
	case "apply", "objects":
		v, err = newSend(s)
	case "patch":
		v, err = newPatch(s)
	case "delete":
		v, err = newDelete(s)
	case "wait":
		v, err = newWait(s, whole)
	case "get":
		v, err = newGet(s)
	case "watch":
		v, err = newWatch(s)
	case "exec":
		v, err = newExec(s)
	case "logs":
		v, err = newLogs(s)
	case "node":
		v, err = newNode(s)
	case "pause":
		v, err = newPause(s, whole)
	}
	return name, v, err
}

// check finds what is wrong with a target.
func (t Target) check() error {
	switch {
	case t.Kind == "":
		return errors.New("kind is missing")
	case t.Name == "" && t.Selector == nil:
		return errors.New(`name or selector is missing (selector: "" takes all)`)
	case t.Name != "" && t.Selector != nil:
		return errors.New("has name and selector; write one of them")
	}
	return nil
}

// one says whether the target is an object, not a list of them.
func (t Target) one() bool { return t.Selector == nil }

func (t Target) String() string {
	switch {
	case t.one():
		return t.Kind + " " + t.Name
	case *t.Selector == "":
		return "every " + t.Kind
	}
	return fmt.Sprintf("every %s with %s", t.Kind, *t.Selector)
}

// filled is the target with its names filled in.
func (t Target) filled(n Names) (Target, error) {
	if t.Selector != nil {
		s := *t.Selector
		t.Selector = &s
		if err := n.texts(t.Selector); err != nil {
			return t, err
		}
		if _, err := labels.Parse(*t.Selector); err != nil {
			return t, fmt.Errorf("selector: %w", err)
		}
	}
	return t, n.texts(&t.APIVersion, &t.Kind, &t.Name)
}

// limit is a duration of a step, or its default.
func limit(field string, d *metav1.Duration, standard, whole time.Duration) (time.Duration, error) {
	switch {
	case d == nil:
		return min(standard, whole), nil
	case d.Duration <= 0:
		return 0, fmt.Errorf("%s: is %s; it must be more than 0", field, d.Duration)
	case d.Duration > whole:
		return 0, fmt.Errorf("%s: %s is longer than the whole scenario may take (timeout: %s)", field, d.Duration, whole)
	}
	return d.Duration, nil
}

// declareValues checks what values declare.
func declareValues(values []Value, types ...evidence.Type) ([]evidence.Output, error) {
	var out []evidence.Output
	for i, v := range values {
		switch {
		case !valueName.MatchString(v.Name):
			return nil, fmt.Errorf("values[%d].name: %q is no dotted lower-case name", i, v.Name)
		case v.CEL == "":
			return nil, fmt.Errorf("values[%d].cel: is missing", i)
		case celTypes[v.Type] == nil:
			return nil, fmt.Errorf("values[%d].type: %q is unknown; known: bool, int, double, string, duration, quantity, list", i, v.Type)
		case len(types) > 0 && !slices.Contains(types, v.Type):
			return nil, fmt.Errorf("values[%d].type: is %s; write one of %v", i, v.Type, types)
		case slices.ContainsFunc(out, func(o evidence.Output) bool { return o.Name == v.Name }):
			return nil, fmt.Errorf("values[%d].name: %s comes twice", i, v.Name)
		}
		out = append(out, evidence.Output{Name: v.Name, Type: v.Type, Unit: v.Unit, Doc: v.CEL})
	}
	return out, nil
}

// reader is a value whose expression is compiled.
type reader struct {
	Value
	*Expression
}

func readers(n Names, values []Value, one bool) ([]reader, error) {
	var out []reader
	for i, v := range values {
		text, err := n.Expression(v.CEL)
		if err != nil {
			return nil, fmt.Errorf("values[%d].cel: %w", i, err)
		}
		e, err := Compile(text, v.Type, one)
		if err != nil {
			return nil, fmt.Errorf("values[%d].cel: %w", i, err)
		}
		out = append(out, reader{v, e})
	}
	return out, nil
}

// checkOthers checks the namespaces' short names: they end names of
// namespaces, which are DNS labels.
func checkOthers(others []string) error {
	for i, o := range others {
		if len(validation.IsDNS1123Label(o)) > 0 || len(o) > 40 {
			return fmt.Errorf("others[%d]: %q is no DNS label of at most 40 characters", i, o)
		}
		if slices.Index(others, o) < i {
			return fmt.Errorf("others[%d]: %s comes twice", i, o)
		}
	}
	return nil
}
