// Package doctor finds out what a machine lacks for labs, all of it at once,
// and installs what a package manager can install. What is found is a pure
// function of captured Facts.
package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// Level says how much a finding matters.
type Level string

// The levels.
const (
	// Missing: labs don't run without it.
	Missing Level = "missing"
	// Warning: labs run, with a loss that the finding names.
	Warning Level = "warning"
	// Info is good to know.
	Info Level = "info"
)

// Finding is one thing that is not as labs want it.
type Finding struct {
	// ID is stable, for machines: engine, go, disk, …
	ID    string `json:"id"`
	Level Level  `json:"level"`
	// What is wrong, and Remedy what to do.
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
	// Packages to install, in the names of this machine's distribution.
	Packages []string `json:"packages,omitempty"`
	// MakeDir is a folder to make.
	MakeDir string `json:"makeDir,omitempty"`
}

// Fixable says whether Fix can do something about it.
func (f Finding) Fixable() bool { return len(f.Packages) > 0 || f.MakeDir != "" }

// Options say what the machine is wanted for.
type Options struct {
	// Engine says which container engine is wanted.
	Engine engine.Options
	// NoCluster is for labs that need no cluster.
	NoCluster bool
	// HaveImage says that the node image is there already, so that nothing
	// that builds it is needed.
	HaveImage bool
	// Source is where the node image's base comes from: registry, debian, or
	// "" for the registry if it answers. BaseImage is the reference to pull;
	// "" means kind's own.
	Source, BaseImage string
	// CacheDir is where large files go; "" means labctl's cache.
	CacheDir string
	// APIServerPort is the port that is wanted on 127.0.0.1; 0 is any.
	APIServerPort int32
}

// Check looks at this machine and returns everything that isn't as labs want
// it, the worst first. It changes nothing but what the engine's trial makes
// and removes.
func Check(ctx context.Context, o Options, log progress.Log) ([]Finding, error) {
	facts, err := Collect(ctx, o, log)
	if err != nil {
		return nil, err
	}
	return Diagnose(facts, o), nil
}

// MissingError is what a command returns that can't go on, with every finding
// of the level Missing and the remedy of each.
type MissingError struct{ Findings []Finding }

// AsError is nil if nothing is missing.
func AsError(findings []Finding) error {
	var missing []Finding
	for _, f := range findings {
		if f.Level == Missing {
			missing = append(missing, f)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return &MissingError{Findings: missing}
}

func (e *MissingError) Error() string {
	var b strings.Builder
	b.WriteString("this machine lacks what labs need:")
	fixable := false
	for _, f := range e.Findings {
		fmt.Fprintf(&b, "\n  %s: %s", f.ID, strings.ReplaceAll(f.What, "\n", "\n    "))
		if f.Remedy != "" {
			fmt.Fprintf(&b, "\n    → %s", f.Remedy)
		}
		fixable = fixable || f.Fixable()
	}
	if fixable {
		b.WriteString("\n`labctl doctor --fix` does what it can of this")
	}
	return b.String()
}
