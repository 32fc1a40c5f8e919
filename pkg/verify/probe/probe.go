// Package probe is the contract between the verifier and the probe families:
// a Kind decodes parameters into a Probe, a Probe returns evidence.
package probe

import (
	"context"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Kind is a family of probes, named in lab specs by its Name.
type Kind struct {
	Name string
	// Doc is one line in English.
	Doc string
	// Namespaced says that the probes make objects in the lab's namespace.
	Namespaced bool
	// New decodes parameters (JSON) strictly into a probe. An error is a
	// mistake in the lab spec.
	New func(params []byte) (Probe, error)
}

// Probe is one measurement, ready to run.
type Probe interface {
	// Outputs declares every value that Run may return.
	Outputs() []evidence.Output
	// Run measures. It returns evidence, an *evidence.Untestable, or an
	// error: a probe that breaks is an error, never a verdict. Evidence beside
	// an *evidence.Untestable is what could be measured nonetheless; it
	// decides claims that look at nothing else.
	Run(ctx context.Context, env Environment) (evidence.Set, error)
}

// Exclusive is implemented by probes that measure time or load and so need
// the machine for themselves.
type Exclusive interface{ Exclusive() bool }

// Exit is what a command in a place returned.
type Exit struct {
	Stdout, Stderr []byte
	Code           int
}
