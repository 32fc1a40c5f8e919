// Package packages installs and removes Debian packages on the machine that
// becomes a node, with the machine's own apt and dpkg. It adds packages and
// takes those away again; it never upgrades, replaces or removes what the
// machine has.
package packages

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// ErrNoApt is a machine without apt or dpkg.
var ErrNoApt = errors.New("this machine has no apt, so labctl can't install packages; give the programs with --runtime-files DIR (crun, runsc, containerd-shim-runsc-v1, and a file SHA256SUMS over them)")

// Missing gives those of the packages that aren't installed whole: all of
// them while an interrupted Install or Remove waits for Install to repair it.
func Missing(ctx context.Context, m machine.Machine, names []string) ([]string, error) {
	missing, err := lacking(ctx, m, names)
	if err == nil && marked(m) {
		return names, nil
	}
	return missing, err
}

// lacking gives those of the packages that dpkg doesn't say are installed.
func lacking(ctx context.Context, m machine.Machine, names []string) ([]string, error) {
	states, err := status(ctx, m)
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return states[n] == installed }), err
}

// Plan gives the packages, dependencies included, that Install would add for
// the names; nil if there is nothing to do. debs are the machine's paths of
// .deb files to take them from, with no network; without any, they come from
// the machine's apt sources. It changes nothing. It is an error if anything
// that is installed would have to be upgraded or removed.
func Plan(ctx context.Context, m machine.Machine, names, debs []string) (toInstall []string, err error) {
	missing, err := Missing(ctx, m, names)
	if err != nil || len(missing) == 0 {
		return nil, err
	}
	err = withApt(ctx, m, debs, progress.Discard, func(a apt) error {
		toInstall, err = a.plan(ctx, missing)
		return err
	})
	return toInstall, err
}

// Install installs the packages and what they depend on, without
// recommendations, from the same place as Plan. It waits for another package
// manager to end. What an interrupted Install left is repaired.
func Install(ctx context.Context, m machine.Machine, names, debs []string, log progress.Log) (err error) {
	missing, err := Missing(ctx, m, names)
	if err != nil || len(missing) == 0 {
		return err
	}
	step := log.Start("Installing packages: " + strings.Join(missing, ", "))
	defer func() { step.End(err) }()
	return change(ctx, m, log, func() error {
		// Once more: a repair may have installed what was missing.
		missing, err := lacking(ctx, m, names)
		if err != nil || len(missing) == 0 {
			return err
		}
		return withApt(ctx, m, debs, log, func(a apt) error {
			added, err := a.plan(ctx, missing)
			if err != nil {
				return err
			}
			step.Update(0, len(added), "packages with what they depend on")
			args := []string{"install", "--no-remove"}
			// What was half unpacked counts as there for apt.
			half, err := inState(ctx, m, halfInstalled)
			if err != nil {
				return err
			}
			if len(half) > 0 {
				args = append(args, "--reinstall")
			}
			return a.run(ctx, slices.Concat(args, missing, half)...)
		})
	})
}

// NeededError says that packages can't be removed because others need them.
type NeededError struct {
	// Packages are the ones to remove that others need.
	Packages []string
	// By are those others.
	By []string
}

func (e *NeededError) Error() string {
	return fmt.Sprintf("%s can't be removed: %s, which labctl didn't install, need(s) it now; nothing was removed. Remove %[2]s first, or keep %[1]s",
		strings.Join(e.Packages, ", "), strings.Join(e.By, ", "))
}

// Remove purges exactly the packages; what isn't there is left out. If any
// other package needs one of them, it is a *NeededError and nothing is removed.
// What a killed Install left of its own goes too.
func Remove(ctx context.Context, m machine.Machine, names []string, log progress.Log) (err error) {
	there, err := present(ctx, m, names)
	if err != nil {
		return err
	}
	if len(there) == 0 && !marked(m) {
		return clean(ctx, m)
	}
	step := log.Start("Removing packages: " + strings.Join(names, ", "))
	defer func() { step.End(err) }()
	return change(ctx, m, log, func() error {
		// Once more: until it was repaired, dpkg's database may have lacked some.
		there, err := present(ctx, m, names)
		if err != nil || len(there) == 0 {
			return err
		}
		return purge(ctx, m, there, log.Output())
	})
}

// present gives those of the packages of which dpkg knows anything on the disk.
func present(ctx context.Context, m machine.Machine, names []string) ([]string, error) {
	states, err := status(ctx, m)
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return states[n] == "" || states[n] == notInstalled
	}), err
}

// The states of a package (dpkg-query(1), Status) that matter here; any other
// is one that an interrupted dpkg leaves, or config-files.
const (
	installed     = "installed"
	notInstalled  = "not-installed"
	halfInstalled = "half-installed"
)

// status gives the state of every package that dpkg knows, by name.
func status(ctx context.Context, m machine.Machine) (map[string]string, error) {
	out, err := m.Output(ctx, "dpkg-query", "--show", "--showformat", `${Package} ${db:Status-Status}\n`)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, ErrNoApt
	case err != nil:
		return nil, fmt.Errorf("packages of this machine: %w", err)
	}
	states := map[string]string{}
	for line := range strings.Lines(out) {
		name, state, _ := strings.Cut(strings.TrimSpace(line), " ")
		if states[name] != installed { // of several architectures, one is enough
			states[name] = state
		}
	}
	return states, nil
}
