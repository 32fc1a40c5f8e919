package k3s

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/packages"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/verify/node"
)

// up is one run of Up.
type up struct {
	p      *Provider
	l      *ledger.Ledger
	s      source
	script installer.Script
	spec   provision.ClusterSpec
	log    progress.Log
	looked bool
	fitted bool
}

// converge makes the changes of the plan until none is left.
func (u *up) converge(ctx context.Context) error {
	said := map[string]bool{}
	var before []Change
	for {
		f, err := u.look(ctx)
		if err != nil {
			return err
		}
		now, err := plan(f, u.p.o, u.spec)
		if err != nil {
			return err
		}
		for _, c := range now.Changes {
			if line := c.Name + ": " + c.Why; c.Action == Use && !said[line] {
				said[line] = true
				u.log.Info("%s is used as it is: %s", c.Name, c.Why)
			}
		}
		changes := now.next()
		if len(changes) == 0 {
			return u.end(ctx, f)
		}
		if same(changes, before) {
			return fmt.Errorf("this did not take effect: %s %s (%s)", changes[0].Action, changes[0].Name, changes[0].Why)
		}
		if err := u.make(ctx, f, changes); err != nil {
			return explain(err)
		}
		before = changes
	}
}

// look looks at the machine; at the first time it says so.
func (u *up) look(ctx context.Context) (f facts, err error) {
	if !u.looked {
		step := u.log.Start("Looking at this machine")
		defer func() { step.End(err) }()
		u.looked = true
		if u.s, err = u.p.parts(ctx); err != nil {
			return f, err
		}
	}
	return u.p.look(ctx, u.s, u.l)
}

func same(a, b []Change) bool {
	return slices.EqualFunc(a, b, func(a, b Change) bool { return a.Name == b.Name && a.step == b.step && a.Why == b.Why })
}

// make makes the changes of one phase.
func (u *up) make(ctx context.Context, f facts, changes []Change) error {
	if slices.ContainsFunc(changes, func(c Change) bool { return c.step == install }) {
		// What the user gave is checked before the first change.
		if err := u.fetch(ctx); err != nil {
			return err
		}
		if err := u.begin(f); err != nil {
			return err
		}
	}
	if err := u.expect(f); err != nil {
		return err
	}
	var installed bool
	for i, c := range changes {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch c.step {
		case put:
			if _, err := u.l.Put(c.write); err != nil {
				return err
			}
		case install:
			if err := u.install(ctx, f); err != nil {
				return err
			}
		case start:
			if err := u.start(ctx, f.unit); err != nil {
				return err
			}
		case apt:
			if installed {
				continue // all at once
			}
			installed = true
			if err := u.packages(ctx, f); err != nil {
				return err
			}
		case putShim:
			if err := u.shim(ctx); err != nil {
				return err
			}
		case fit:
			if err := u.fit(ctx, f); err != nil {
				return err
			}
		case startBus:
			if err := u.startBus(ctx); err != nil {
				return err
			}
		case configure:
			if _, err := u.l.Put(c.write); err != nil {
				return err
			}
		case restart:
			return u.restart(ctx, f, changes[:i])
		}
	}
	return nil
}

// crunState and runcState are where the two keep their containers (crun(1) and
// runc(8), --root): crun makes its folder whenever it is asked something, runc
// when a probe runs it.
const crunState, runcState = "/run/crun", "/run/runc"

// expect notes the folders that programs make at run time.
func (u *up) expect(f facts) error {
	if f.crun == "" && f.crunWithoutWasm == "" {
		// The only crun will be labctl's, and what is in its folder too.
		if err := u.l.Own(crunState); err != nil {
			return err
		}
	}
	return u.l.Expect(runcState)
}

// end is after the last phase.
func (u *up) end(ctx context.Context, f facts) error {
	if err := u.l.Own(node.Root); err != nil { // where probes put labprobe
		return err
	}
	// Another kernel may have another quirk since the last up.
	if a, err := addFor(f); err != nil || !slices.Contains(a.handlers, runtimes.GVisor) {
		return err
	}
	return u.fit(ctx, f)
}

// packages installs what is missing; the ledger gets exactly what comes new.
func (u *up) packages(ctx context.Context, f facts) error {
	noted := map[string]bool{}
	for _, e := range u.l.Entries(ledger.Packages) {
		for _, name := range e.Names {
			noted[name] = true
		}
	}
	var names []string
	for _, name := range f.packages {
		if !noted[name] {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		if err := u.l.Record(ledger.Entry{Kind: ledger.Packages, Names: names}); err != nil {
			return err
		}
	}
	return packages.Install(ctx, u.p.m, f.missing, u.s.debs, u.log)
}

// shim puts gVisor's shim, and runsc where the shim's folder brings its own.
func (u *up) shim(ctx context.Context) error {
	if u.p.o.Shim == nil {
		return errors.New("gVisor: this machine has no " + runscShim + "; give it with --runtime-files DIR")
	}
	dir, err := u.p.o.Shim(ctx, u.log)
	if err != nil {
		return err
	}
	files, err := layout("", false).Programs(dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if name := path.Base(file.Path); name != runscShim && name != "runsc" {
			continue
		}
		if err := u.put(file); err != nil {
			return err
		}
	}
	return nil
}

// startBus starts the system bus.
func (u *up) startBus(ctx context.Context) error {
	if len(u.l.Entries(ledger.Units)) == 0 {
		if err := u.l.Own(path.Dir(busSocket)); err != nil {
			return err
		}
		if err := u.l.Record(ledger.Entry{Kind: ledger.Units, Names: []string{busUnit, "dbus.service"}}); err != nil {
			return err
		}
	}
	if _, err := u.p.m.Output(ctx, "systemctl", "start", busUnit); err != nil {
		return fmt.Errorf("the system bus, through which crun asks systemd for cgroups: %w; the package dbus has it", err)
	}
	return nil
}

func (u *up) put(file runtimes.File) error {
	_, err := u.l.Put(ledger.Write{Path: file.Path, Mode: file.Mode, Content: ledger.Content{Bytes: file.Content}})
	return err
}

// fit writes the programs that fit runsc to the kernel and runs the setup.
func (u *up) fit(ctx context.Context, f facts) (err error) {
	if u.fitted {
		return nil
	}
	l := layout(f.crun, f.systemd)
	shim, _ := u.p.m.LookPath(servicePath, runscShim)
	files, err := l.Programs(u.p.m.Path(path.Dir(shim)))
	if err != nil {
		return err
	}
	for _, file := range files {
		if name := path.Base(file.Path); name == runscShim || name == "runsc" {
			continue // they are there
		}
		if err := u.put(file); err != nil {
			return err
		}
	}
	exit, err := u.p.m.Run(ctx, machine.Command{
		Argv: []string{"env", "PATH=" + servicePath + ":" + programs, l.Setup()}, Log: u.log.Output(),
	})
	if err != nil {
		return fmt.Errorf("fit runsc to this kernel: %w", err)
	}
	if exit.Code != 0 {
		return fmt.Errorf("fit runsc to this kernel: %s ended with %d: %s", l.Setup(), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	u.fitted = true
	return nil
}

// makeRoom is what to do about a full disk.
const makeRoom = "The disk is full: make room (`df -h` shows where) and run the same command again; labctl goes on from there"

// explain says what to do about a full disk.
func explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "no space left on device") {
		return fmt.Errorf("%w\n%s", err, makeRoom)
	}
	return err
}
