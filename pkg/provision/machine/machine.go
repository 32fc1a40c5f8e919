// Package machine is the Linux machine that labctl itself runs on, where it
// becomes a node: its files and the programs that run there. Everything that
// changes such a machine goes through it, so that tests give it another root
// folder and programs of their own.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Machine is a machine's files and programs. The zero value is the one that
// labctl runs on.
type Machine struct {
	// Root is the folder that stands for /; "" is / itself.
	Root string
	// Exec runs a program in place of os/exec; a non-zero exit code is no
	// error, a program that isn't there is exec.ErrNotFound. Only tests set it.
	Exec func(ctx context.Context, c Command) (probe.Exit, error)
}

// Command is a program to run.
type Command struct {
	Argv  []string
	Env   []string // added to labctl's own environment
	Stdin io.Reader
	// Log gets what the program prints, as it comes; may be nil.
	Log io.Writer
}

// Path is where a file of the machine is for this process.
func (m Machine) Path(path string) string { return filepath.Join("/", m.Root, path) }

// ReadFile reads a file of the machine. A file that isn't there is
// fs.ErrNotExist.
func (m Machine) ReadFile(path string) ([]byte, error) { return os.ReadFile(m.Path(path)) }

// Run runs a program and waits; when ctx ends, so does the program.
func (m Machine) Run(ctx context.Context, c Command) (probe.Exit, error) {
	if len(c.Argv) == 0 {
		return probe.Exit{}, errors.New("no command")
	}
	if m.Exec != nil {
		return m.Exec(ctx, c)
	}
	r, err := process.Run(ctx, process.Command{Argv: c.Argv, Env: c.Env, Stdin: c.Stdin, Log: c.Log})
	var ended *process.Error
	var code *exec.ExitError
	if errors.As(err, &ended) && errors.As(err, &code) && code.Exited() {
		err = nil
	}
	if err != nil {
		return probe.Exit{}, err
	}
	return probe.Exit{Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}, nil
}

// Output runs a program whose non-zero exit code is an error that holds what
// it said, and gives what it printed.
func (m Machine) Output(ctx context.Context, argv ...string) (string, error) {
	exit, err := m.Run(ctx, Command{Argv: argv})
	if err != nil {
		return "", err
	}
	if exit.Code != 0 {
		said := bytes.TrimSpace(append(exit.Stderr, exit.Stdout...))
		return string(exit.Stdout), fmt.Errorf("%s ended with %d: %s", strings.Join(argv, " "), exit.Code, said)
	}
	return string(exit.Stdout), nil
}

// LookPath finds a program in the folders of path (as of PATH), on the machine.
func (m Machine) LookPath(path, program string) (string, bool) {
	for _, dir := range filepath.SplitList(path) {
		candidate := filepath.Join(dir, program)
		if info, err := os.Stat(m.Path(candidate)); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return candidate, true
		}
	}
	return "", false
}
