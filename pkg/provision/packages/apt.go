package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/provision/machine"
)

// apt is the machine's apt-get with options that say where packages come from.
type apt struct {
	m       machine.Machine
	options []string // of apt.conf(5), NAME=VALUE
	log     io.Writer
}

// always are the options of every run: no recommendations, nothing beyond
// what is asked for, no questions, and nothing left in apt's caches. Another
// apt that comes between is waited for (change has waited before).
var always = []string{
	"APT::Install-Recommends=false",
	"APT::Get::AutomaticRemove=false",
	"APT::Keep-Downloaded-Packages=false",
	"Dir::Cache::pkgcache=", "Dir::Cache::srcpkgcache=",
	"Dir::Log::Planner=/dev/null", // not even of a simulation
	"DPkg::Lock::Timeout=300",
	"Dpkg::Options::=--force-confdef", "Dpkg::Options::=--force-confold",
	"Dpkg::Use-Pty=false",
}

// environment keeps apt's output parseable and its hooks quiet: no questions
// (debconf(7)), no restarts of services by needrestart. Without a folder of
// that name apt uses /tmp.
var environment = []string{"LC_ALL=C", "TMPDIR=" + started, "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1", "APT_LISTCHANGES_FRONTEND=none"}

func (a apt) argv(args []string) []string {
	argv := []string{"apt-get", "--quiet", "--yes"}
	for _, o := range append(always[:len(always):len(always)], a.options...) {
		argv = append(argv, "--option", o)
	}
	return append(argv, args...)
}

// errSources are packages that apt can't find or get with the lists it has.
var errSources = errors.New("apt's sources don't give the packages")

// refused is what apt-get says when lists are missing or older than the archive.
var refused = regexp.MustCompile(`Unable to locate package|has no installation candidate|Unable to fetch|Failed to fetch|unmet dependencies`)

func (a apt) run(ctx context.Context, args ...string) error {
	_, err := a.output(ctx, args)
	return err
}

func (a apt) output(ctx context.Context, args []string) (string, error) {
	exit, err := a.m.Run(ctx, machine.Command{Argv: a.argv(args), Env: environment, Log: a.log})
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", ErrNoApt
	case err != nil:
		return "", err
	case exit.Code == 0:
		return string(exit.Stdout), nil
	}
	said := tail(string(exit.Stdout)+string(exit.Stderr), 12)
	err = fmt.Errorf("apt-get %s ended with %d:\n  %s", strings.Join(args, " "), exit.Code, strings.ReplaceAll(said, "\n", "\n  "))
	if refused.MatchString(said) {
		err = fmt.Errorf("%w: %w", errSources, err)
	}
	return "", err
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// steps are what a run of apt-get would do.
type steps struct {
	added, upgraded, removed []string
}

// simulate says what apt-get would do.
func (a apt) simulate(ctx context.Context, args ...string) (steps, error) {
	out, err := a.output(ctx, append([]string{"--simulate"}, args...))
	return parseSteps(out), err
}

// step is a line of apt-get --simulate: Inst NAME [OLD] (NEW …) …, Remv NAME
// [OLD], Purg NAME [OLD].
var step = regexp.MustCompile(`(?m)^(Inst|Remv|Purg) (\S+)( \[[^\]]*\])?`)

func parseSteps(printed string) steps {
	var s steps
	for _, m := range step.FindAllStringSubmatch(printed, -1) {
		switch {
		case m[1] != "Inst":
			s.removed = append(s.removed, m[2])
		case m[3] != "":
			s.upgraded = append(s.upgraded, m[2])
		default:
			s.added = append(s.added, m[2])
		}
	}
	return s
}

// plan gives what installing the packages adds, and refuses to touch what is
// installed.
func (a apt) plan(ctx context.Context, names []string) ([]string, error) {
	s, err := a.simulate(ctx, append([]string{"install"}, names...)...)
	if err != nil {
		return nil, err
	}
	states, err := status(ctx, a.m)
	if err != nil {
		return nil, err
	}
	added, upgraded := s.added, []string(nil)
	for _, u := range s.upgraded {
		// One that an interrupted dpkg left half installed has a version too.
		if states[u] == installed {
			upgraded = append(upgraded, u)
		} else {
			added = append(added, u)
		}
	}
	if len(s.removed) > 0 {
		return nil, fmt.Errorf("to install %s, apt would remove %s, and labctl takes nothing away from a machine; remove it yourself, or give the programs with --runtime-files DIR", strings.Join(names, ", "), strings.Join(s.removed, ", "))
	}
	if len(upgraded) > 0 {
		return nil, fmt.Errorf("to install %s, apt would upgrade %s, which can't be undone, so labctl doesn't; run `apt-get install --only-upgrade %s` yourself, take packages of this machine's own release, or give the programs with --runtime-files DIR", strings.Join(names, ", "), strings.Join(upgraded, ", "), strings.Join(upgraded, " "))
	}
	return added, nil
}
