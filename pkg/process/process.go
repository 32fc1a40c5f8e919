// Package process runs other programs: with a context that ends the whole
// process group, with errors that carry what the program said, and with the
// full output in a log.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command is one program to run.
type Command struct {
	Argv []string
	Dir  string
	// Env is added to the environment of labctl itself.
	Env []string
	// Stdin may be nil.
	Stdin io.Reader
	// Stdout gets the program's output besides the Result; may be nil.
	// With Stream the Result doesn't hold it (for large outputs).
	Stdout io.Writer
	Stream bool
	// Log gets everything that the program prints, and its command line;
	// may be nil.
	Log io.Writer
}

// Result is what a program that ended gave.
type Result struct {
	Stdout, Stderr []byte
	Code           int
}

// Error is a program that could not be run or ended with a non-zero code.
type Error struct {
	Argv   []string
	Result Result
	Err    error
}

func (e *Error) Error() string {
	said := tail(e.Result.Stderr, 12)
	if said == "" {
		said = tail(e.Result.Stdout, 12)
	}
	msg := fmt.Sprintf("%s: %v", line(e.Argv), e.Err)
	if said != "" {
		msg += "\n  " + strings.ReplaceAll(said, "\n", "\n  ")
	}
	return msg
}

func (e *Error) Unwrap() error { return e.Err }

// grace is how long a program may take to end after the first signal; with
// the command layer's own limit of 5 s for Ctrl-C there must be room after it.
const grace = 2 * time.Second

// Run runs the program and waits. A non-zero exit code is an *Error, whose
// Result is returned as well. When ctx ends, the program's process group gets
// SIGTERM and after a grace period SIGKILL.
func Run(ctx context.Context, c Command) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = c.Stdin
	var outs []io.Writer
	if !c.Stream {
		outs = append(outs, &stdout)
	}
	errs := []io.Writer{&stderr}
	if c.Stdout != nil {
		outs = append(outs, c.Stdout)
	}
	if c.Log != nil {
		fmt.Fprintf(c.Log, "+ %s\n", line(c.Argv))
		if !c.Stream {
			outs = append(outs, c.Log)
		}
		errs = append(errs, c.Log)
	}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(outs...), io.MultiWriter(errs...)
	// A group of its own: Ctrl-C on the terminal reaches labctl alone, which
	// then ends its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err := cmd.Run()
	if cmd.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	r := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	if cmd.ProcessState != nil {
		r.Code = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
			err = ctx.Err()
		}
		return r, &Error{Argv: c.Argv, Result: r, Err: err}
	}
	return r, nil
}

func line(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		if a == "" || strings.ContainsAny(a, " \t\n\"'$\\") {
			a = fmt.Sprintf("%q", a)
		}
		quoted[i] = a
	}
	s := strings.Join(quoted, " ")
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

func tail(b []byte, lines int) string {
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.TrimSpace(strings.Join(all, "\n"))
}
