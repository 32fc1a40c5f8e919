// Package service starts, stops and looks at one service of a machine through
// the init system that runs there: systemd or OpenRC.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Kind is an init system.
type Kind string

// The init systems that K3s's installer knows.
const (
	Systemd Kind = "systemd"
	OpenRC  Kind = "openrc"
)

// ErrNone is a machine on which neither systemd nor OpenRC runs.
var ErrNone = errors.New("neither systemd nor OpenRC runs on this machine")

// Signs that an init system is the one that the machine was booted with:
// sd_booted(3), and the state folder of OpenRC (rc --service, openrc(8)).
const (
	systemdSign = "/run/systemd/system"
	openrcSign  = "/run/openrc"
	// openrcRun is by what K3s's installer knows OpenRC, before it looks for
	// systemd.
	openrcRun = "/sbin/openrc-run"
)

// Manager is one service of a machine.
type Manager struct {
	// Kind is the init system.
	Kind Kind
	// Name is the service's name without .service.
	Name string
	m    machine.Machine
}

// Detect finds the init system that runs on the machine. The service need not
// be there. It is ErrNone where none runs, such as in a container.
func Detect(m machine.Machine, name string) (Manager, error) {
	s := Manager{Name: name, m: m}
	switch {
	case exists(m, systemdSign) && exists(m, openrcRun):
		// K3s's installer would write a service that nothing starts.
		return s, fmt.Errorf("systemd runs on this machine, but %s is there too, and K3s's installer takes that for the init system; remove the package openrc", openrcRun)
	case exists(m, systemdSign):
		s.Kind = Systemd
	case exists(m, openrcSign) && exists(m, openrcRun):
		s.Kind = OpenRC
	default:
		return s, fmt.Errorf("%w (no %s, no %s): K3s needs one of them to run as a service; boot the machine with one, or use --provider kind", ErrNone, systemdSign, openrcSign)
	}
	return s, nil
}

func exists(m machine.Machine, path string) bool {
	_, err := os.Stat(m.Path(path))
	return err == nil
}

// argv gives the command line of an action on the service.
func (s Manager) argv(action string) []string {
	if s.Kind == OpenRC {
		return []string{"rc-service", s.Name, action}
	}
	return []string{"systemctl", action, s.Name + ".service"}
}

// File is the path of the service's definition as K3s's installer writes it.
func (s Manager) File() string {
	if s.Kind == OpenRC {
		return "/etc/init.d/" + s.Name
	}
	return "/etc/systemd/system/" + s.Name + ".service"
}

// Start starts the service and waits until it says that it runs. An error
// holds the end of the service's log.
func (s Manager) Start(ctx context.Context) error { return s.do(ctx, "start") }

// Stop stops the service; its children may go on, as those of K3s do.
func (s Manager) Stop(ctx context.Context) error { return s.do(ctx, "stop") }

// Restart stops and starts the service and waits as Start does.
func (s Manager) Restart(ctx context.Context) error { return s.do(ctx, "restart") }

// toldLines is how many lines of its log the error of a service holds.
const toldLines = 20

func (s Manager) do(ctx context.Context, action string) error {
	exit, err := s.run(ctx, s.argv(action)...)
	if err != nil {
		return fmt.Errorf("%s service %s: %w", action, s.Name, err)
	}
	if exit.Code == 0 {
		return nil
	}
	err = fmt.Errorf("%s service %s: %s ended with %d: %s", action, s.Name, strings.Join(s.argv(action), " "), exit.Code, said(exit))
	if action == "stop" {
		return err
	}
	if log, logErr := s.Log(ctx, toldLines); logErr == nil && log != "" {
		err = fmt.Errorf("%w\n  The end of its log (%s):\n  %s", err, s.logSource(), strings.ReplaceAll(log, "\n", "\n  "))
	}
	return err
}

// Active says whether the service runs and, under systemd, has said so
// (sd_notify(3)): one that starts isn't active yet. A service that isn't there
// isn't active.
func (s Manager) Active(ctx context.Context) (bool, error) {
	if s.Kind == OpenRC && !exists(s.m, s.File()) {
		return false, nil
	}
	action := "is-active"
	if s.Kind == OpenRC {
		action = "status"
	}
	exit, err := s.run(ctx, s.argv(action)...)
	if err != nil {
		return false, fmt.Errorf("state of service %s: %w", s.Name, err)
	}
	return exit.Code == 0, nil
}

// Enabled says whether the service starts when the machine boots.
func (s Manager) Enabled(ctx context.Context) (bool, error) {
	argv := s.argv("is-enabled")
	if s.Kind == OpenRC {
		argv = []string{"rc-update", "show", "default"}
	}
	exit, err := s.run(ctx, argv...)
	if err != nil {
		return false, fmt.Errorf("is service %s enabled: %w", s.Name, err)
	}
	if s.Kind == Systemd {
		return exit.Code == 0, nil
	}
	if exit.Code != 0 {
		return false, fmt.Errorf("is service %s enabled: %s ended with %d: %s", s.Name, strings.Join(argv, " "), exit.Code, said(exit))
	}
	return inRunlevel(string(exit.Stdout), s.Name), nil
}

// inRunlevel reads rc-update(8)'s list: SERVICE | RUNLEVEL … .
func inRunlevel(list, name string) bool {
	for line := range strings.Lines(list) {
		service, _, found := strings.Cut(line, "|")
		if found && strings.TrimSpace(service) == name {
			return true
		}
	}
	return false
}

// Log gives the last lines of the service's log, oldest first; "" if it has
// none yet.
func (s Manager) Log(ctx context.Context, lines int) (string, error) {
	if s.Kind == OpenRC {
		text, err := tailFile(s.m.Path(s.logSource()), lines)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return text, err
	}
	argv := []string{"journalctl", "--unit=" + s.Name + ".service", "--lines=" + strconv.Itoa(lines), "--no-pager", "--quiet", "--output=short-iso"}
	exit, err := s.run(ctx, argv...)
	if err != nil {
		return "", fmt.Errorf("log of service %s: %w", s.Name, err)
	}
	if exit.Code != 0 {
		return "", fmt.Errorf("log of service %s: journalctl ended with %d: %s", s.Name, exit.Code, said(exit))
	}
	return strings.TrimSpace(string(exit.Stdout)), nil
}

// logSource says where the log is: a command for systemd, the file that K3s's
// installer names for OpenRC.
func (s Manager) logSource() string {
	if s.Kind == OpenRC {
		return "/var/log/" + s.Name + ".log"
	}
	return "journalctl -u " + s.Name
}

func (s Manager) run(ctx context.Context, argv ...string) (probe.Exit, error) {
	exit, err := s.m.Run(ctx, machine.Command{Argv: argv})
	if errors.Is(err, exec.ErrNotFound) {
		return exit, fmt.Errorf("%s runs on this machine, but its program %s is not on PATH: %w", s.Kind, argv[0], err)
	}
	return exit, err
}

func said(exit probe.Exit) string {
	return strings.TrimSpace(string(exit.Stderr) + "\n" + string(exit.Stdout))
}

// tailBytes is as much of a log file as is read from its end.
const tailBytes = 256 << 10

func tailFile(path string, lines int) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	b := make([]byte, min(size, tailBytes))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n"), nil
}
