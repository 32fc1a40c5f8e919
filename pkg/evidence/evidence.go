// Package evidence holds what a probe saw: typed values, each with its unit
// and where it came from. It has no dependencies beyond the standard library,
// because labprobe, which prints evidence from inside Pods, is built for
// wasip1 too.
package evidence

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Type is the type of a value, the same word that CEL has for it.
type Type string

// The types of evidence. Quantity is a Kubernetes quantity
// (k8s.io/apimachinery/pkg/api/resource), used for bytes and CPU.
const (
	Bool     Type = "bool"
	Int      Type = "int"      // counts, codes, ids; int64
	Double   Type = "double"   // ratios and other real numbers; float64
	String   Type = "string"   // names, text
	Duration Type = "duration" // time.Duration, written as Go does: 182.4ms
	Quantity Type = "quantity" // Kubernetes quantity, written as text: 64Mi
	List     Type = "list"     // list of strings
)

// Source says where a value came from.
type Source struct {
	// Kind is one of file, syscall, cpuid, ioctl, object, command, clock,
	// counter, program (the program's own computation).
	Kind string `json:"kind"`
	// Ref names it: a path, a call, a leaf, an API object, a command line.
	Ref string `json:"ref"`
	// Exit is the exit code where Kind is command.
	Exit *int `json:"exit,omitempty"`
	// Where names the place that the probe ran in: host, node/NAME,
	// pod/NAME, microvm. Filled in by the probe family, not by labprobe.
	Where string `json:"where,omitempty"`
}

// Value is one piece of evidence.
type Value struct {
	// Name is dotted lower case, e.g. kernel.release; within a claim it is
	// prefixed by the probe's subject, e.g. gvisor.kernel.release.
	Name string `json:"name"`
	Type Type   `json:"type"`
	// Value is bool, int64, float64, string, time.Duration or []string, as
	// Type says; a Quantity is held as string.
	Value any `json:"value"`
	// Unit is the UCUM-like unit of numbers: bytes, 1 (a ratio), count,
	// ns/op, ops/s, …; empty for text. Durations carry theirs.
	Unit   string `json:"unit,omitempty"`
	Source Source `json:"source"`
}

// Output declares a value that a probe gives, before it runs, so that
// expressions over it can be checked.
type Output struct {
	Name string
	Type Type
	Unit string
	// Doc is one line in English.
	Doc string
}

// Set is what one probe saw. Names are unique within a set.
type Set []Value

// Get returns the value called name.
func (s Set) Get(name string) (Value, bool) {
	i := slices.IndexFunc(s, func(v Value) bool { return v.Name == name })
	if i < 0 {
		return Value{}, false
	}
	return s[i], true
}

// Under returns a copy of the set with every name prefixed by subject and a dot.
func (s Set) Under(subject string) Set {
	out := slices.Clone(s)
	for i := range out {
		out[i].Name = subject + "." + out[i].Name
	}
	return out
}

// At returns a copy of the set whose sources say where the probe ran.
func (s Set) At(where string) Set {
	out := slices.Clone(s)
	for i := range out {
		out[i].Source.Where = where
	}
	return out
}

// Text returns the value for people.
func (v Value) Text() string {
	switch x := v.Value.(type) {
	case time.Duration:
		return roundDuration(x).String()
	case float64:
		return withUnit(fmt.Sprintf("%.4g", x), v.Unit)
	case int64:
		return withUnit(fmt.Sprint(x), v.Unit)
	default:
		return fmt.Sprint(x)
	}
}

func withUnit(s, unit string) string {
	switch unit {
	case "", "1", "count":
		return s
	}
	return s + " " + unit
}

// roundDuration keeps three significant digits, more would be noise.
func roundDuration(d time.Duration) time.Duration {
	scale := time.Duration(1)
	for d/scale >= 1000 {
		scale *= 10
	}
	return d.Round(scale)
}

// MarshalJSON writes durations as text (1.5s).
func (v Value) MarshalJSON() ([]byte, error) {
	type plain Value
	p := plain(v)
	if d, ok := v.Value.(time.Duration); ok {
		p.Value = d.String()
	}
	return json.Marshal(p)
}

// UnmarshalJSON restores the Go type that Type names, and refuses a value
// that doesn't fit it: what labprobe prints is input like any other.
func (v *Value) UnmarshalJSON(b []byte) error {
	type plain Value
	var raw struct {
		plain
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*v = Value(raw.plain)
	var err error
	switch v.Type {
	case Bool:
		v.Value, err = decode[bool](raw.Value)
	case Int:
		v.Value, err = decode[int64](raw.Value)
	case Double:
		v.Value, err = decode[float64](raw.Value)
	case String, Quantity:
		v.Value, err = decode[string](raw.Value)
	case List:
		v.Value, err = decode[[]string](raw.Value)
	case Duration:
		var s string
		if s, err = decode[string](raw.Value); err == nil {
			v.Value, err = time.ParseDuration(s)
		}
	default:
		err = fmt.Errorf("unknown type %q", v.Type)
	}
	if err != nil {
		return fmt.Errorf("evidence %s: %w", v.Name, err)
	}
	return nil
}

func decode[T any](raw json.RawMessage) (T, error) {
	var x T
	err := json.Unmarshal(raw, &x)
	return x, err
}
