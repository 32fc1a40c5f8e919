package kind

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// place runs commands on a node, through the engine's exec.
type place struct {
	e    *engine.Engine
	node string
}

// Name implements probe.Place.
func (p place) Name() string { return "node/" + p.node }

// Labprobe is "": nothing puts labprobe on a node but Options.Equip.
func (p place) Labprobe() string { return "" }

// execVar is set for every command on a node; its value is the run's mark.
const execVar = "LABCTL_EXEC"

// execScript runs a command and writes the mark and the command's exit code
// to stderr: engines end with codes of their own when exec itself fails
// (Docker with 1, Podman with 125), and no exit code is safe from a command.
const execScript = `"$@"; printf '\n%s %d\n' "$` + execVar + `" "$?" >&2`

// reapScript kills what a run left on the node when labctl stopped waiting:
// the end of `exec` doesn't end the command.
const reapScript = `for f in $(grep -lszxF "$1" /proc/[0-9]*/environ); do
  f=${f%/environ}; kill -9 "${f#/proc/}"
done 2>/dev/null; :`

// Run implements probe.Place.
func (p place) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	if len(argv) == 0 {
		return probe.Exit{}, errors.New("no command")
	}
	mark := rand.Text()
	args := []string{"exec", "-e", execVar + "=" + mark}
	if stdin != nil {
		args = append(args, "-i")
	}
	args = append(args, p.node, "sh", "-c", execScript, "sh")
	c := p.e.Command(append(args, argv...)...)
	c.Stdin = stdin
	r, err := process.Run(ctx, c)
	if ctx.Err() != nil {
		p.reap(ctx, mark)
		return probe.Exit{}, fmt.Errorf("%s on %s: %w", argv[0], p.Name(), context.Cause(ctx))
	}
	if err != nil {
		return probe.Exit{}, fmt.Errorf("%s on %s: %w", argv[0], p.Name(), explain(err))
	}
	exit, err := parseExit(r, mark)
	if err != nil {
		return probe.Exit{}, fmt.Errorf("%s on %s: %w", argv[0], p.Name(), err)
	}
	return exit, nil
}

func (p place) reap(ctx context.Context, mark string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// Best effort: the node may be gone as well.
	_, _ = p.e.Run(ctx, "exec", p.node, "sh", "-c", reapScript, "sh", execVar+"="+mark)
}

// parseExit takes the exit code from behind the mark in stderr.
func parseExit(r process.Result, mark string) (probe.Exit, error) {
	i := bytes.LastIndex(r.Stderr, []byte("\n"+mark+" "))
	if i < 0 {
		return probe.Exit{}, fmt.Errorf("the engine's exec ended before the command did: %.300q", r.Stderr)
	}
	rest := bytes.TrimSpace(r.Stderr[i+1+len(mark)+1:])
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	code, err := strconv.Atoi(string(line))
	if err != nil {
		return probe.Exit{}, fmt.Errorf("exit code of the command: %w", err)
	}
	return probe.Exit{Stdout: r.Stdout, Stderr: r.Stderr[:i], Code: code}, nil
}
