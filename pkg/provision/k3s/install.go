package k3s

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/k3s/ledger"
	"github.com/isolation-stack/labctl/pkg/provision/service"
)

// made are the paths that the installer, or K3s when it runs, makes and that
// its uninstall script may leave.
var made = []string{
	"/usr/local/bin/k3s", "/usr/local/bin/kubectl", "/usr/local/bin/crictl", "/usr/local/bin/ctr",
	"/usr/local/bin/k3s-killall.sh", "/etc/rancher", "/var/lib/rancher", "/var/lib/kubelet", "/var/lib/cni",
	"/var/log/pods", "/var/log/containers", "/run/k3s", "/run/flannel", "/etc/cni",
	"/run/containerd", "/run/nri", "/usr/libexec/kubernetes",
}

// begin notes that K3s is going to be installed: what of it wasn't there
// before, and the user's files that its uninstall script would take.
func (u *up) begin(f facts) error {
	if f.begun {
		return nil
	}
	for _, file := range f.kept {
		if err := u.l.Keep(file); err != nil {
			return err
		}
	}
	e := ledger.Entry{Kind: ledger.K3s, Path: path.Join(installer.DefaultBinDir, f.unit+"-uninstall.sh")}
	for _, name := range slices.Concat([]string{e.Path}, unitFiles(f), made) {
		if _, err := os.Lstat(u.p.m.Path(name)); errors.Is(err, fs.ErrNotExist) {
			e.Names = append(e.Names, name)
		}
	}
	return u.l.Record(e)
}

// fetch gets the installer, stores it and shows it.
func (u *up) fetch(ctx context.Context) (err error) {
	store := filepath.Join(u.p.o.StateDir, "k3s")
	if u.p.o.StateDir == "" {
		store = u.p.m.Path(path.Join(ledger.Dir, "installer"))
	}
	if u.script, err = installer.Fetch(ctx, u.s.installer, store, u.log); err != nil {
		return err
	}
	return u.script.Show(u.log)
}

// install runs K3s's installer. One that failed is run again.
func (u *up) install(ctx context.Context, f facts) error {
	err := installer.Run(ctx, u.p.m, u.script, installer.Settings{
		Binary: u.s.binary, BinarySHA256: u.s.sha256,
		Version: u.p.o.Version, Channel: u.p.o.Channel,
		Service: u.p.o.Service, BinDir: installer.DefaultBinDir,
	}, u.log)
	if err != nil {
		return err
	}
	// The installer doesn't start a service whose files it finds as they are,
	// as after an earlier run that failed.
	if err := u.start(ctx, f.unit); err != nil {
		return err
	}
	return u.l.Finish()
}

// unitFiles are what the installer makes for the service's manager.
func unitFiles(f facts) []string {
	if f.init == service.OpenRC {
		return []string{"/etc/init.d/" + f.unit, "/etc/logrotate.d/" + f.unit, "/var/log/" + f.unit + ".log"}
	}
	unit := "/etc/systemd/system/" + f.unit + ".service"
	return []string{unit, unit + ".env"}
}

// start starts a K3s that labctl installed, unless it runs, and waits for it.
func (u *up) start(ctx context.Context, unit string) error {
	manager, err := service.Detect(u.p.m, unit)
	if err != nil {
		return err
	}
	active, err := manager.Active(ctx)
	if err == nil && !active {
		err = manager.Start(ctx)
	}
	if err != nil {
		return err
	}
	return u.started(ctx, unit)
}

// started waits until K3s has rendered containerd's configuration.
func (u *up) started(ctx context.Context, unit string) (err error) {
	step := u.log.Start("Waiting for K3s")
	defer func() { step.End(err) }()
	limited, cancel := context.WithTimeout(ctx, u.p.times.back)
	defer cancel()
	for {
		if _, err := os.Stat(u.p.m.Path(rendered)); err == nil {
			if _, err = u.p.m.ReadFile(adminConfig); err == nil {
				return nil
			}
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("K3s was started and has not come up within %v%s", u.p.times.back, u.p.serviceLog(ctx, unit))
		case <-time.After(u.p.times.poll):
		}
	}
}

// serviceLog is the end of K3s's log, for an error.
func (p *Provider) serviceLog(ctx context.Context, unit string) string {
	manager, err := service.Detect(p.m, unit)
	if err != nil {
		return ""
	}
	text, err := manager.Log(ctx, 20)
	if err != nil || text == "" {
		return ""
	}
	return "; the end of its log:\n  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")
}
