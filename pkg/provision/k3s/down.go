package k3s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/provision/packages"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// Down implements provision.Provider: it takes back what the ledger says, and
// K3s itself only if labctl installed it.
func (p *Provider) Down(ctx context.Context, name string, log progress.Log) error {
	if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
		return fmt.Errorf("cluster name %q: %s", name, strings.Join(problems, "; "))
	}
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	l, err := ledger.Open(p.m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ledger.Sweep(p.m)
	case errors.Is(err, fs.ErrPermission):
		return errNotRoot
	case err != nil:
		return err
	case l.Cluster() != name:
		log.Info("This machine is the cluster %s; there is no %s to take away", l.Cluster(), name)
		return nil
	}
	d := &down{p: p, l: l, log: log, unit: installer.ServiceName(p.o.Service)}
	return d.run(ctx)
}

// down is one run of Down.
type down struct {
	p    *Provider
	l    *ledger.Ledger
	log  progress.Log
	unit string
	// stays says that this K3s was there before labctl, runs that it runs.
	stays, runs bool
	left        []ledger.Left
}

func (d *down) run(ctx context.Context) error {
	d.stays = len(d.l.Entries(ledger.K3s)) == 0
	if err := d.look(ctx); err != nil {
		return err
	}
	if d.runs {
		err := d.p.removeObjects(ctx, d.stays, d.log)
		if err != nil && (d.stays || ctx.Err() != nil) {
			return err
		}
		if err != nil {
			d.log.Info("Not everything in K3s was removed, but K3s itself is uninstalled: %v", err)
		}
	}
	step := d.log.Start("Taking back what labctl changed")
	left, err := d.l.Undo(ctx, d.undo)
	step.End(err)
	if err != nil {
		return explain(err)
	}
	if d.stays && d.runs && d.l.RestartDue() {
		if err := d.p.restart(ctx, d.l, d.unit, false, d.log); err != nil {
			return fmt.Errorf("K3s has its old configuration again, but: %w; mend it and run labctl down --provider k3s again", err)
		}
	}
	left = append(left, d.left...)
	for _, l := range left {
		d.log.Info("Left alone: %s", l)
	}
	return d.l.Close(left)
}

// look sees whether K3s runs. If one that stays is there and doesn't, its
// objects can't be taken away.
func (d *down) look(ctx context.Context) error {
	if _, there := d.p.m.LookPath("/usr/local/bin:/opt/bin:"+servicePath, "k3s"); !there {
		return nil // somebody removed it
	}
	manager, err := service.Detect(d.p.m, d.unit)
	if err != nil {
		return err
	}
	if d.runs, err = manager.Active(ctx); err != nil || d.runs || !d.stays {
		return err
	}
	return fmt.Errorf("K3s doesn't run (service %s), so labctl can't take its RuntimeClasses and images away; start it and run the same command again, or remove K3s first", d.unit)
}

// undo takes back a change that the ledger doesn't know how to.
func (d *down) undo(ctx context.Context, e ledger.Entry) error {
	switch e.Kind {
	case ledger.Kubeconfig:
		if err := kubecontext.At(e.Path).Remove(ctx, e.Names[0]); err != nil {
			return err
		}
		for _, dir := range e.Names[1:] {
			_ = os.Remove(dir) // it stays unless it is empty
		}
		return nil
	case ledger.Units:
		exit, err := d.p.m.Run(ctx, machine.Command{Argv: append([]string{"systemctl", "stop"}, e.Names...)})
		if err == nil && exit.Code != 0 && exit.Code != unitUnknown {
			err = fmt.Errorf("stop %s: %s", strings.Join(e.Names, ", "), bytes.TrimSpace(exit.Stderr))
		}
		return err
	case ledger.Images:
		return d.images(ctx, e.Names)
	case ledger.Packages:
		var needed *packages.NeededError
		err := packages.Remove(ctx, d.p.m, e.Names, d.log)
		if errors.As(err, &needed) {
			d.left = append(d.left, ledger.Left{Path: "packages " + strings.Join(e.Names, ", "), Why: err.Error()})
			return nil
		}
		return err
	case ledger.K3s:
		return d.uninstall(ctx, e)
	}
	return fmt.Errorf("the ledger has a change of the kind %q, which this labctl doesn't know; use the labctl that made it", e.Kind)
}

// unitUnknown is systemctl's exit code for a unit that isn't there (LSB's for
// a program that is not installed).
const unitUnknown = 5

// images removes those that labctl loaded; with a K3s that goes, they go.
func (d *down) images(ctx context.Context, refs []string) error {
	if !d.stays || !d.runs {
		return nil
	}
	there, err := d.p.ctr(ctx, "images", "ls", "--quiet")
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !slices.Contains(strings.Fields(there), ref) {
			continue
		}
		if _, err := d.p.ctr(ctx, "images", "rm", "--sync", ref); err != nil {
			return err
		}
	}
	return nil
}

// uninstall runs K3s's own script, and removes what an installer that failed,
// or the script, left of what wasn't there before.
func (d *down) uninstall(ctx context.Context, e ledger.Entry) (err error) {
	step := d.log.Start("Uninstalling K3s")
	defer func() { step.End(err) }()
	if _, there := d.p.m.LookPath(installer.DefaultBinDir, d.unit+"-uninstall.sh"); there {
		exit, err := d.p.m.Run(ctx, machine.Command{Argv: []string{e.Path}, Log: d.log.Output()})
		if err != nil {
			return fmt.Errorf("uninstall K3s: %w", err)
		}
		if exit.Code != 0 {
			return fmt.Errorf("K3s's uninstall script %s ended with %d: %s", e.Path, exit.Code, lastLine(exit.Stderr))
		}
	}
	if err := d.p.endShims(ctx); err != nil {
		return err
	}
	if f, err := service.Detect(d.p.m, d.unit); err == nil && f.Kind == service.Systemd {
		// The kubelet's slices, which nobody else stops, are empty now; where
		// there are none, there is nothing to stop.
		_, _ = d.p.m.Run(ctx, machine.Command{Argv: []string{"systemctl", "stop", "kubepods.slice"}})
	}
	mounts, err := d.p.m.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	for _, name := range e.Names {
		if at := mountBelow(mounts, name); at != "" {
			return fmt.Errorf("%s is still mounted, so %s isn't removed; unmount it and run the same command again", at, name)
		}
		if err := os.RemoveAll(d.p.m.Path(name)); err != nil {
			return err
		}
	}
	return nil
}

// mountBelow finds a mount at or below a folder (proc_pid_mounts(5)); "" if
// there is none.
func mountBelow(mounts []byte, dir string) string {
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && (f[1] == dir || strings.HasPrefix(f[1], dir+"/")) {
			return f[1]
		}
	}
	return ""
}

func lastLine(b []byte) string {
	b = bytes.TrimSpace(b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
