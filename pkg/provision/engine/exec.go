package engine

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
)

// execVar is set for every command in a container; its value is the run's mark.
const execVar = "LABCTL_EXEC"

// execScript runs a command and writes the mark and the command's exit code
// to stderr: engines end with codes of their own when exec itself fails
// (Docker with 1, Podman with 125), and no exit code is safe from a command.
const execScript = `"$@"; printf '\n%s %d\n' "$` + execVar + `" "$?" >&2`

// reapScript kills what a run left in the container when labctl stopped
// waiting: the end of `exec` doesn't end the command.
const reapScript = `for f in $(grep -lszxF "$1" /proc/[0-9]*/environ); do
  f=${f%/environ}; kill -9 "${f#/proc/}"
done 2>/dev/null; :`

// Exec runs argv in a running container, which needs sh and grep, and waits.
// The command's exit code, whatever it is, is in the result and no error.
// stdin may be nil. When ctx ends, the command is killed.
func (e *Engine) Exec(ctx context.Context, container string, stdin io.Reader, argv ...string) (process.Result, error) {
	if len(argv) == 0 {
		return process.Result{}, errors.New("no command")
	}
	mark := rand.Text()
	args := []string{"exec", "-e", execVar + "=" + mark}
	if stdin != nil {
		args = append(args, "-i")
	}
	args = append(args, container, "sh", "-c", execScript, "sh")
	c := e.Command(append(args, argv...)...)
	c.Stdin = stdin
	r, err := process.Run(ctx, c)
	if ctx.Err() != nil {
		e.reap(ctx, container, mark)
		return process.Result{}, context.Cause(ctx)
	}
	if err != nil {
		return process.Result{}, err
	}
	return parseExit(r, mark)
}

func (e *Engine) reap(ctx context.Context, container, mark string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	// Best effort: the container may be gone as well.
	_, _ = e.Run(ctx, "exec", container, "sh", "-c", reapScript, "sh", execVar+"="+mark)
}

// parseExit takes the exit code from behind the mark in stderr.
func parseExit(r process.Result, mark string) (process.Result, error) {
	i := bytes.LastIndex(r.Stderr, []byte("\n"+mark+" "))
	if i < 0 {
		return process.Result{}, fmt.Errorf("the engine's exec ended before the command did: %.300q", r.Stderr)
	}
	rest := bytes.TrimSpace(r.Stderr[i+1+len(mark)+1:])
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	code, err := strconv.Atoi(string(line))
	if err != nil {
		return process.Result{}, fmt.Errorf("exit code of the command: %w", err)
	}
	return process.Result{Stdout: r.Stdout, Stderr: r.Stderr[:i], Code: code}, nil
}
