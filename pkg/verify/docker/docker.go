// Package docker is the probe family that runs in a Docker of labctl's own,
// as root: scripts that print the evidence they declare.
package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// The images that this Docker has, by their names there: labprobe, and
// busybox with a shell.
const (
	ProbeImage = "labctl/labprobe"
	ShellImage = "labctl/shell"
)

// Kind is the family.
var Kind = probe.Kind{
	Name: "docker",
	Doc:  "a script in a Docker of labctl's own, as root",
	New:  func(params []byte) (probe.Probe, error) { return New(params) },
}

// Params are the parameters.
type Params struct {
	// Script is run as the family node runs its own. $IMAGE and $SHELL_IMAGE
	// name the images that this Docker has, $FILES is a folder with Files.
	Script string `json:"script"`
	// Files are manifests that the script finds in $FILES, by their paths
	// below the manifests folder.
	Files []string `json:"files,omitempty"`
	// Outputs declares the evidence of Script, all of which it must give.
	Outputs []node.Output `json:"outputs"`
	// Timeout is the longest that it may take, 2m if absent.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Exclusive says that nothing else may be measured meanwhile.
	Exclusive bool `json:"exclusive,omitempty"`
}

const defaultTimeout = 2 * time.Minute

// New decodes parameters into a probe.
func New(params []byte) (*Probe, error) {
	var p Params
	if err := probe.Decode(params, &p); err != nil {
		return nil, err
	}
	if p.Script == "" {
		return nil, errors.New("script: is empty; a docker probe has a script")
	}
	d := &Probe{params: p, timeout: defaultTimeout}
	if p.Timeout != nil {
		if d.timeout = p.Timeout.Duration; d.timeout < time.Second {
			return nil, fmt.Errorf("timeout: %s is less than 1s", d.timeout)
		}
	}
	if err := checkFiles(p.Files); err != nil {
		return nil, err
	}
	var err error
	d.outputs, err = node.Declare(p.Outputs)
	return d, err
}

// Probe is a probe of the family.
type Probe struct {
	params  Params
	timeout time.Duration
	outputs []evidence.Output
}

var _ probe.Exclusive = (*Probe)(nil)

// Outputs implements probe.Probe.
func (d *Probe) Outputs() []evidence.Output { return d.outputs }

// Exclusive implements probe.Exclusive.
func (d *Probe) Exclusive() bool { return d.params.Exclusive }

// Run implements probe.Probe.
func (d *Probe) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	if env.Docker == nil {
		return nil, evidence.Untestablef("the run has no Docker of its own")
	}
	script := node.Script{
		Text:    d.params.Script,
		Env:     []string{"IMAGE=" + ProbeImage, "SHELL_IMAGE=" + ShellImage},
		Outputs: d.outputs,
		Timeout: d.timeout,
		// Scripts start dockerd again.
		SharedMounts: true,
	}
	if len(d.params.Files) > 0 {
		archive, err := pack(env.Manifests, d.params.Files)
		if err != nil {
			return nil, err
		}
		folder, err := unpack(ctx, env.Docker, archive)
		if err != nil {
			return nil, err
		}
		script.Env = append(script.Env, "FILES="+folder)
	}
	return script.Run(ctx, env.Docker)
}
