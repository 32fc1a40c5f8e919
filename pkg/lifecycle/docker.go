package lifecycle

import (
	"context"
	"fmt"
	"runtime"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/probeimage"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/docker"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	dockerprobe "github.com/isolation-stack/labctl/pkg/verify/docker"
	"github.com/isolation-stack/labctl/pkg/verify/node"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// DockerOptions say which Docker of labctl's own.
type DockerOptions struct {
	// Name is the cluster's, whether there is one or not.
	Name string
	// StateDir is labctl's folder for state.
	StateDir     string
	Engine       engine.Options
	DebianMirror string
}

// Docker is one that is up, held against other runs with its name until
// Release.
type Docker struct {
	*docker.Docker
	// Place has labprobe in it.
	Place probe.Place

	release func()
	down    func(context.Context) error
}

// Release lets others have the Docker.
func (d *Docker) Release() { d.release() }

// Down removes it; Release comes after it.
func (d *Docker) Down(ctx context.Context) error { return d.down(ctx) }

// UpDocker brings a Docker of labctl's own up, or finds the one that is
// there.
func UpDocker(ctx context.Context, o DockerOptions, log progress.Log) (_ *Docker, err error) {
	pins, err := images.ReadPins()
	if err != nil {
		return nil, fmt.Errorf("images/pins.yaml: %w", err)
	}
	program, err := payload.Labprobe()
	if err != nil {
		return nil, err
	}
	module, err := payload.LabprobeWasm()
	if err != nil {
		return nil, err
	}
	image, err := probeimage.Native(program, runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	cache, err := artifact.Default()
	if err != nil {
		return nil, err
	}
	e, unlock, err := lockDocker(ctx, o, log)
	if err != nil {
		return nil, err
	}
	d, err := docker.Up(ctx, e, docker.Options{
		Name: o.Name, Cache: cache, Suite: pins.Debian.Suite, Packages: pins.Debian.Docker,
		Apt: func(ctx context.Context) (docker.Apt, error) {
			return openApt(ctx, cache, o.DebianMirror, log)
		},
		ProbeImage: image, Loaded: image.Ref, Probe: dockerprobe.ProbeImage, Shell: dockerprobe.ShellImage,
	}, log)
	if err != nil {
		unlock()
		return nil, err
	}
	return &Docker{
		Docker: d, Place: node.Equip(d, program, module), release: unlock,
		down: func(ctx context.Context) error { return docker.Down(ctx, e, o.StateDir, o.Name, log) },
	}, nil
}

// DownDocker removes the Docker of that name; it is no error if there is none.
// Where there never was one, no engine is asked for: a machine that is a K3s
// node needs none.
func DownDocker(ctx context.Context, o DockerOptions, log progress.Log) error {
	if there, err := docker.Known(o.StateDir, o.Name); err != nil || !there {
		return err
	}
	e, unlock, err := lockDocker(ctx, o, log)
	if err != nil {
		return err
	}
	defer unlock()
	return docker.Down(ctx, e, o.StateDir, o.Name, log)
}

// FindDocker finds the Docker of that name as it is, nil if none runs.
func FindDocker(ctx context.Context, o DockerOptions, log progress.Log) (*docker.Docker, error) {
	if there, err := docker.Known(o.StateDir, o.Name); err != nil || !there {
		return nil, err
	}
	o.Engine.StateDir = o.StateDir
	e, err := engine.Choose(ctx, o.Engine, log)
	if err != nil {
		return nil, err
	}
	return docker.Find(ctx, e, o.Name)
}

func lockDocker(ctx context.Context, o DockerOptions, log progress.Log) (*engine.Engine, func(), error) {
	o.Engine.StateDir = o.StateDir
	e, err := engine.Choose(ctx, o.Engine, log)
	if err != nil {
		return nil, nil, err
	}
	unlock, err := docker.Lock(ctx, o.StateDir, o.Name)
	return e, unlock, err
}
