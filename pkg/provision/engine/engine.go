// Package engine finds a container engine that can run lab nodes. An engine
// counts only when a privileged container really starts under it: a program
// on PATH, a daemon that answers or a version number say too little on
// restricted hosts (training rooms, nested CI runners).
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// The engines, by the names of their programs, in the order of choice. Docker
// goes first because kind's support of it is the oldest and because where it
// is installed it mostly runs as root; --engine overrides.
const (
	Docker  = "docker"
	Podman  = "podman"
	Nerdctl = "nerdctl"
)

// Names lists the engines in the order in which they are tried.
func Names() []string { return []string{Docker, Podman, Nerdctl} }

// ErrNotInstalled is an engine whose program is not on PATH.
var ErrNotInstalled = errors.New("not installed")

// Engine is a container engine that passed the trial.
type Engine struct {
	// Name is docker, podman or nerdctl.
	Name string
	// Path of its program.
	Path string
	// Env is what its programs need besides labctl's own environment.
	Env []string

	log io.Writer
}

// Options says which engine to choose.
type Options struct {
	// Name is docker, podman or nerdctl; "" tries all of them.
	Name string
	// StateDir is the folder for settings of labctl's own; "" means
	// DefaultStateDir.
	StateDir string
}

// Choose returns the first engine under which a privileged container starts,
// or a *Refusal that says of each engine why it fell.
func Choose(ctx context.Context, o Options, log progress.Log) (_ *Engine, err error) {
	names := Names()
	if o.Name != "" {
		if !slices.Contains(names, o.Name) {
			return nil, fmt.Errorf("unknown container engine %q; known: %s", o.Name, strings.Join(names, ", "))
		}
		names = []string{o.Name}
	}
	if o.StateDir == "" {
		if o.StateDir, err = DefaultStateDir(); err != nil {
			return nil, err
		}
	}
	step := log.Start("Trying container engines")
	defer func() { step.End(err) }()
	refusal := &Refusal{Only: o.Name}
	for _, name := range names {
		step.Update(0, 0, name)
		e, err := try(ctx, name, o.StateDir, log)
		if err == nil {
			step.Update(0, 0, name+" starts privileged containers")
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		refusal.Attempts = append(refusal.Attempts, Attempt{Engine: name, Err: err})
	}
	return nil, refusal
}

func try(ctx context.Context, name, stateDir string, log progress.Log) (*Engine, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, fmt.Errorf("%w (no %s on PATH)", ErrNotInstalled, name)
	}
	e := &Engine{Name: name, Path: path, log: log.Output()}
	if name == Podman {
		if e.Env, err = podmanEnv(stateDir); err != nil {
			return nil, err
		}
	}
	if err := e.trial(ctx, stateDir); err != nil {
		return nil, err
	}
	return e, nil
}

// Command is the engine's program with these arguments, ready for process.Run.
func (e *Engine) Command(args ...string) process.Command {
	return process.Command{Argv: append([]string{e.Path}, args...), Env: e.Env, Log: e.log}
}

// Run runs the engine's program and waits. A non-zero exit code is a
// *process.Error.
func (e *Engine) Run(ctx context.Context, args ...string) (process.Result, error) {
	return process.Run(ctx, e.Command(args...))
}

// DefaultStateDir is labctl's folder for state: $XDG_STATE_HOME/labctl, else
// ~/.local/state/labctl. It follows the XDG Base Directory Specification 0.8.
func DefaultStateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "labctl"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no folder for labctl's state: %w; set HOME or XDG_STATE_HOME", err)
	}
	return filepath.Join(home, ".local", "state", "labctl"), nil
}
