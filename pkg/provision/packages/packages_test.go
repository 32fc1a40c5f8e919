package packages

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// What apt-get 3.0 and 2.6 print with --simulate.
const (
	simulatedInstall = `Reading package lists...
The following NEW packages will be installed:
  crun libyajl2
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Inst libyajl2 (2.1.0-5+b2 Debian:13.7/stable [amd64])
Inst crun (1.21-1 Debian:13.7/stable [amd64])
Conf libyajl2 (2.1.0-5+b2 Debian:13.7/stable [amd64])
Conf crun (1.21-1 Debian:13.7/stable [amd64])
`
	simulatedUpgrade = `Inst libc6 [2.36-9+deb12u10] (2.41-12 Debian:13.7/stable [amd64]) []
Conf libc6 (2.41-12 Debian:13.7/stable [amd64]) []
Inst base-files [13.8+deb13u6] (13.8+deb13u7 Debian:13.7/stable [amd64])
Inst runsc (0.0~20240729.0-4+b7 Debian:13.7/stable [amd64])
Remv libc6-dev [2.36-9+deb12u10] [gcc:amd64 ]
`
	simulatedPurge = `Building dependency tree...
The following packages will be REMOVED:
  jq* libjq1* libonig5*
Purg jq [1.7.1-6+deb13u4]
Purg libjq1 [1.7.1-6+deb13u4]
Purg libonig5 [6.9.9-1+b1]
`
	// dpkg --no-act --purge libjq1 libonig5, on stderr.
	noActPurge = `dpkg: dependency problems prevent removal of libjq1:amd64:
 jq depends on libjq1 (= 1.7.1-6+deb13u4).

dpkg: error processing package libjq1:amd64 (--purge):
 dependency problems - not removing
dpkg: dependency problems prevent removal of libonig5:amd64:
 libjq1:amd64 depends on libonig5 (>= 6.8.1).

dpkg: error processing package libonig5:amd64 (--purge):
 dependency problems - not removing
Errors were encountered while processing:
 libjq1:amd64
 libonig5:amd64
`
)

func TestParseSteps(t *testing.T) {
	for name, c := range map[string]struct {
		printed                  string
		added, upgraded, removed []string
	}{
		"install": {simulatedInstall, []string{"libyajl2", "crun"}, nil, nil},
		"upgrade": {simulatedUpgrade, []string{"runsc"}, []string{"libc6", "base-files"}, []string{"libc6-dev"}},
		"purge":   {simulatedPurge, nil, nil, []string{"jq", "libjq1", "libonig5"}},
		"nothing": {"0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n", nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := parseSteps(c.printed)
			if !slices.Equal(s.added, c.added) || !slices.Equal(s.upgraded, c.upgraded) || !slices.Equal(s.removed, c.removed) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		said         string
		names        []string
		packages, by []string
	}{
		"one needed from outside, one from within": {noActPurge, []string{"libjq1", "libonig5"}, []string{"libjq1"}, []string{"jq"}},
		"one of two ways": {`dpkg: dependency problems prevent removal of crun:
 podman depends on crun | runc; however:
  Package crun is to be removed.
  Package runc is not installed.
 buildah depends on crun | runc; however:
  Package crun is to be removed.
`, []string{"crun"}, []string{"crun"}, []string{"podman", "buildah"}},
		"nothing": {"Would remove or purge crun (1.21-1) ...\n", []string{"crun"}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			err := refusals(c.said, c.names)
			var needed *NeededError
			if !errors.As(err, &needed) {
				needed = &NeededError{}
			}
			if (err == nil) != (c.by == nil) || !slices.Equal(needed.Packages, c.packages) || !slices.Equal(needed.By, c.by) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A machine without dpkg is told what to give instead.
func TestNoApt(t *testing.T) {
	ctx := context.Background()
	m := machine.Machine{Root: t.TempDir(), Exec: func(_ context.Context, c machine.Command) (probe.Exit, error) {
		return probe.Exit{}, &exec.Error{Name: c.Argv[0], Err: exec.ErrNotFound}
	}}
	for name, f := range map[string]func() error{
		"missing": func() error { _, err := Missing(ctx, m, []string{"crun"}); return err },
		"plan":    func() error { _, err := Plan(ctx, m, []string{"crun"}, nil); return err },
		"install": func() error { return Install(ctx, m, []string{"crun"}, nil, progress.Discard) },
		"remove":  func() error { return Remove(ctx, m, []string{"crun"}, progress.Discard) },
	} {
		if err := f(); !errors.Is(err, ErrNoApt) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
