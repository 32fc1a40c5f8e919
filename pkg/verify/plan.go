package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// Plan says what to verify.
type Plan struct {
	Labs []*lab.Lab
	// Claims are ids; 29-88 takes 29-88.pod in as well. Empty means all.
	Claims []string
	// Layers are the layers of claims; empty means all.
	Layers []lab.Layer
	// Strict makes an untestable claim fail the run.
	Strict bool
}

// Takes says whether the plan takes a claim in.
func (p Plan) Takes(c *lab.Claim) bool {
	if len(p.Layers) > 0 && !slices.Contains(p.Layers, c.Layer) {
		return false
	}
	return len(p.Claims) == 0 || slices.ContainsFunc(p.Claims, func(id string) bool { return named(c, id) })
}

func named(c *lab.Claim, id string) bool {
	return c.ID == id || strings.HasPrefix(c.ID, id+".")
}

// Check finds the filters that take nothing in: a misspelt id must not look
// like a run in which all went well.
func (p Plan) Check() error {
	var unknown []string
	for _, id := range p.Claims {
		if !p.has(func(c *lab.Claim) bool { return named(c, id) }) {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("no claim %s in the labs %s; labctl show LAB lists a lab's claims", strings.Join(unknown, ", "), strings.Join(p.names(), ", "))
	}
	if !p.has(p.Takes) {
		return fmt.Errorf("no claim of the labs %s fits the filters; labctl show LAB lists a lab's claims and layers", strings.Join(p.names(), ", "))
	}
	return nil
}

func (p Plan) has(f func(*lab.Claim) bool) bool {
	for _, l := range p.Labs {
		for i := range l.Spec.Claims {
			if f(&l.Spec.Claims[i]) {
				return true
			}
		}
	}
	return false
}

func (p Plan) names() []string {
	names := make([]string, len(p.Labs))
	for i, l := range p.Labs {
		names[i] = l.Metadata.Name
	}
	return names
}
