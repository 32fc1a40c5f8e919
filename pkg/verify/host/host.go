// Package host runs labprobe's commands on the machine that labctl runs on,
// in labctl's own process.
package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/labprobe"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// where is what evidence sources say.
const where = "host"

// Kind is the family.
func Kind() probe.Kind {
	return probe.Kind{Name: where, Doc: "labprobe on the machine that labctl runs on", New: newProbe}
}

// params are the family's parameters.
type params struct {
	// Labprobe is the command line, without the program's name.
	Labprobe []string `json:"labprobe"`
}

type hostProbe struct {
	command labprobe.Command
	args    []string
	outputs []evidence.Output
}

func newProbe(b []byte) (probe.Probe, error) {
	var p params
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return nil, fmt.Errorf("parameters of a host probe: %w", err)
	}
	if len(p.Labprobe) == 0 {
		return nil, errors.New("labprobe: want a command, such as [hardware]")
	}
	c, err := labprobe.Lookup(p.Labprobe[0])
	if err != nil {
		return nil, err
	}
	outputs, err := c.Outputs(p.Labprobe[1:])
	if err != nil {
		return nil, fmt.Errorf("labprobe %s: %w", c.Name, err)
	}
	return &hostProbe{c, p.Labprobe[1:], outputs}, nil
}

func (p *hostProbe) Outputs() []evidence.Output { return p.outputs }

func (p *hostProbe) Exclusive() bool { return p.command.Exclusive }

func (p *hostProbe) Run(ctx context.Context, _ probe.Environment) (evidence.Set, error) {
	if p.command.Run == nil {
		return nil, evidence.Untestablef("labprobe %s does not exist on this platform", p.command.Name)
	}
	set, err := p.command.Run(ctx, p.args)
	if err != nil {
		return nil, fmt.Errorf("labprobe %s: %w", p.command.Name, err)
	}
	return set.At(where), nil
}
