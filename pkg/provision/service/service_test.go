package service

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// box is a machine with files, whose programs answer by their command lines;
// any other command line fails the test.
func box(t *testing.T, files map[string]string, answers map[string]probe.Exit) machine.Machine {
	t.Helper()
	m := machine.Machine{Root: t.TempDir()}
	for path, text := range files {
		if err := os.MkdirAll(filepath.Dir(m.Path(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(m.Path(path), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.Exec = func(_ context.Context, c machine.Command) (probe.Exit, error) {
		line := strings.Join(c.Argv, " ")
		exit, ok := answers[line]
		if !ok {
			t.Errorf("it runs %q", line)
		}
		return exit, nil
	}
	return m
}

var (
	systemdBox = map[string]string{"/run/systemd/system/x": ""}
	openrcBox  = map[string]string{"/run/openrc/softlevel": "default", "/sbin/openrc-run": "", "/etc/init.d/k3s": "", "/var/log/k3s.log": "one\ntwo\nthree\n"}
)

func TestDetect(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		kind  Kind
		err   string
	}{
		"systemd":                {systemdBox, Systemd, ""},
		"OpenRC":                 {openrcBox, OpenRC, ""},
		"a container":            {map[string]string{"/usr/bin/systemctl": ""}, "", "neither systemd nor OpenRC"},
		"OpenRC isn't booted":    {map[string]string{"/sbin/openrc-run": ""}, "", "neither systemd nor OpenRC"},
		"systemd beside openrc":  {map[string]string{"/run/systemd/system/x": "", "/sbin/openrc-run": ""}, "", "remove the package openrc"},
		"the state of an OpenRC": {map[string]string{"/run/openrc/softlevel": ""}, "", "neither systemd nor OpenRC"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Detect(box(t, c.files, nil), "k3s")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want it to say %q", err, c.err)
				}
				if strings.HasPrefix(c.err, "neither") != errors.Is(err, ErrNone) {
					t.Errorf("ErrNone: %v", err)
				}
				return
			}
			if err != nil || s.Kind != c.kind {
				t.Errorf("got %v, %v", s.Kind, err)
			}
		})
	}
}

func exit(code int, stdout, stderr string) probe.Exit {
	return probe.Exit{Code: code, Stdout: []byte(stdout), Stderr: []byte(stderr)}
}

// What each action runs, and what is made of the answer. The answers are
// those of systemd 257 and OpenRC 0.54.
func TestActions(t *testing.T) {
	const journal = "journalctl --unit=k3s.service --lines=2 --no-pager --quiet --output=short-iso"
	const longJournal = "journalctl --unit=k3s.service --lines=20 --no-pager --quiet --output=short-iso"
	yes := func(b bool, err error) (string, error) { return strconv.FormatBool(b), err }
	actions := map[string]func(Manager) (string, error){
		"start":   func(s Manager) (string, error) { return "", s.Start(context.Background()) },
		"stop":    func(s Manager) (string, error) { return "", s.Stop(context.Background()) },
		"restart": func(s Manager) (string, error) { return "", s.Restart(context.Background()) },
		"active":  func(s Manager) (string, error) { return yes(s.Active(context.Background())) },
		"enabled": func(s Manager) (string, error) { return yes(s.Enabled(context.Background())) },
		"log":     func(s Manager) (string, error) { return s.Log(context.Background(), 2) },
	}
	none := map[string]string{"/run/openrc/softlevel": "default", "/sbin/openrc-run": ""}
	for _, c := range []struct {
		name, action string
		files        map[string]string
		answers      map[string]probe.Exit
		want, err    string
	}{
		{"systemd starts", "start", systemdBox, map[string]probe.Exit{"systemctl start k3s.service": {}}, "", ""},
		{"systemd stops", "stop", systemdBox, map[string]probe.Exit{"systemctl stop k3s.service": {}}, "", ""},
		{"systemd restarts", "restart", systemdBox, map[string]probe.Exit{"systemctl restart k3s.service": {}}, "", ""},
		{"systemd fails to start", "start", systemdBox, map[string]probe.Exit{
			"systemctl start k3s.service": exit(1, "", "Job for k3s.service failed because the control process exited with error code.\n"),
			longJournal:                   exit(0, "2026-01-01T00:00:00+00:00 box k3s[1]: fatal: port 6443 is in use\n", ""),
		}, "", "port 6443 is in use"},
		{"systemd has no such service", "stop", systemdBox, map[string]probe.Exit{
			"systemctl stop k3s.service": exit(5, "", "Failed to stop k3s.service: Unit k3s.service not loaded.\n"),
		}, "", "ended with 5: Failed to stop k3s.service: Unit k3s.service not loaded."},
		{"systemd, active", "active", systemdBox, map[string]probe.Exit{"systemctl is-active k3s.service": exit(0, "active\n", "")}, "true", ""},
		{"systemd, starting", "active", systemdBox, map[string]probe.Exit{"systemctl is-active k3s.service": exit(3, "activating\n", "")}, "false", ""},
		{"systemd, not there", "active", systemdBox, map[string]probe.Exit{"systemctl is-active k3s.service": exit(4, "inactive\n", "")}, "false", ""},
		{"systemd, enabled", "enabled", systemdBox, map[string]probe.Exit{"systemctl is-enabled k3s.service": exit(0, "enabled\n", "")}, "true", ""},
		{"systemd, disabled", "enabled", systemdBox, map[string]probe.Exit{"systemctl is-enabled k3s.service": exit(1, "disabled\n", "")}, "false", ""},
		{"systemd's log", "log", systemdBox, map[string]probe.Exit{journal: exit(0, "two\nthree\n", "")}, "two\nthree", ""},
		{"systemd has no journal", "log", systemdBox, map[string]probe.Exit{journal: exit(1, "", "No journal files were found.\n")}, "", "No journal files"},

		{"OpenRC starts", "start", openrcBox, map[string]probe.Exit{"rc-service k3s start": {}}, "", ""},
		{"OpenRC stops", "stop", openrcBox, map[string]probe.Exit{"rc-service k3s stop": {}}, "", ""},
		{"OpenRC restarts", "restart", openrcBox, map[string]probe.Exit{"rc-service k3s restart": {}}, "", ""},
		{"OpenRC fails to start", "restart", openrcBox, map[string]probe.Exit{
			"rc-service k3s restart": exit(1, " * ERROR: k3s failed to start\n", ""),
		}, "", "The end of its log (/var/log/k3s.log):\n  one\n  two\n  three"},
		{"OpenRC, started", "active", openrcBox, map[string]probe.Exit{"rc-service k3s status": exit(0, " * status: started\n", "")}, "true", ""},
		{"OpenRC, stopped", "active", openrcBox, map[string]probe.Exit{"rc-service k3s status": exit(3, " * status: stopped\n", "")}, "false", ""},
		{"OpenRC, crashed", "active", openrcBox, map[string]probe.Exit{"rc-service k3s status": exit(32, " * status: crashed\n", "")}, "false", ""},
		{"OpenRC, not there", "active", none, nil, "false", ""},
		{"OpenRC, enabled", "enabled", openrcBox, map[string]probe.Exit{"rc-update show default": exit(0, "             k3s-two | default\n                 k3s | default\n", "")}, "true", ""},
		{"OpenRC, another enabled", "enabled", openrcBox, map[string]probe.Exit{"rc-update show default": exit(0, "             k3s-two | default\n", "")}, "false", ""},
		{"OpenRC without runlevels", "enabled", openrcBox, map[string]probe.Exit{"rc-update show default": exit(1, "", " * rc-update: `default' is not a valid runlevel\n")}, "", "not a valid runlevel"},
		{"OpenRC's log", "log", openrcBox, nil, "two\nthree", ""},
		{"OpenRC has no log", "log", none, nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Detect(box(t, c.files, c.answers), "k3s")
			if err != nil {
				t.Fatal(err)
			}
			got, err := actions[c.action](s)
			if got != c.want && c.err == "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want it to say %q", err, c.err)
			}
		})
	}
}

func TestProgramMissing(t *testing.T) {
	m := box(t, systemdBox, nil)
	m.Exec = func(_ context.Context, c machine.Command) (probe.Exit, error) {
		return probe.Exit{}, &exec.Error{Name: c.Argv[0], Err: exec.ErrNotFound}
	}
	s, err := Detect(m, "k3s")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err == nil || !strings.Contains(err.Error(), "systemctl is not on PATH") {
		t.Errorf("got %v", err)
	}
}

func TestFile(t *testing.T) {
	for kind, want := range map[Kind]string{Systemd: "/etc/systemd/system/k3s.service", OpenRC: "/etc/init.d/k3s"} {
		if got := (Manager{Kind: kind, Name: "k3s"}).File(); got != want {
			t.Errorf("%s: %s, want %s", kind, got, want)
		}
	}
}
