package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// supervisor is `k3s server`: it starts the parts, and ends when one ends.
type supervisor struct {
	*settings
	version  version
	dir      string // of the unpacked parts
	children []*child
	// ended gets each child that ended.
	ended chan *child
}

// child is one of the parts.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error // when done is closed
}

func (s *supervisor) path(below string) string { return filepath.Join(s.dataDir, below) }

// grace is how long the parts have to end by themselves.
const grace = 5 * time.Second

func supervise(args []string) error {
	settings, err := serverFlags(args)
	if err != nil {
		return err
	}
	s := &supervisor{settings: settings, ended: make(chan *child, 16)}
	if s.version, err = ownVersion(); err != nil {
		return err
	}
	if s.dir, err = unpack(s.dataDir); err != nil {
		return err
	}
	logf("info", "Starting k3s %s (%.8s), the stand-in of labctl's tests", s.version.k3s(), s.version.Hash)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	err = s.serve(ctx)
	if ctx.Err() != nil {
		err = nil // told to end
	}
	s.stop()
	return err
}

// start starts a part; argv[0] is its program among the unpacked ones. It is
// called from the main thread alone (see main). Output goes to the journal
// unless there is a log.
func (s *supervisor) start(log io.Writer, argv ...string) error {
	program := filepath.Join(s.dir, "bin", argv[0])
	if log == nil {
		log = os.Stderr
	}
	c := &child{name: argv[0], done: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: program, Args: argv, Stdout: log, Stderr: log,
		// Shims are children of containerd's, not of this one, and live on.
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
		Env: slices.DeleteFunc(os.Environ(), func(e string) bool {
			return strings.HasPrefix(e, "NOTIFY_SOCKET=") // they are not the service
		}),
	}
	logf("info", "Running %s", strings.Join(argv, " "))
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", argv[0], err)
	}
	s.children = append(s.children, c)
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
		s.ended <- c
	}()
	return nil
}

// await waits until the condition holds; it ends early when a part ends.
func (s *supervisor) await(ctx context.Context, what string, condition func(context.Context) error) error {
	var err error
	for start := time.Now(); time.Since(start) < 3*time.Minute; {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = condition(try)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-s.ended:
			return c.failure()
		case <-time.After(200 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s is not ready: %w", what, err)
}

func (c *child) failure() error {
	if c.err == nil {
		return fmt.Errorf("%s exited", c.name)
	}
	return fmt.Errorf("%s exited: %w", c.name, c.err)
}

// stop ends the parts: those that use the API first, then the API, then its
// database. What doesn't end is killed.
func (s *supervisor) stop() {
	deadline := time.After(grace)
	for _, round := range [][]string{{"kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "containerd"}, {"kube-apiserver"}, {"kine"}} {
		for _, c := range s.children {
			if slices.Contains(round, c.name) {
				_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			}
		}
		for _, c := range s.children {
			if !slices.Contains(round, c.name) {
				continue
			}
			select {
			case <-c.done:
			case <-deadline:
				deadline = closed
				_ = c.cmd.Process.Kill()
				<-c.done
			}
		}
	}
}

// closed is a deadline that has passed.
var closed = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// output runs one of the parts to its end.
func (s *supervisor) output(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.dir, "bin", argv[0]), argv[1:]...)
	cmd.Stdin = stdin
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	return string(out), err
}

func (s *supervisor) kubectl(ctx context.Context, args ...string) (string, error) {
	return s.output(ctx, nil, append([]string{"kubectl", "--kubeconfig", s.path("server/cred/admin.kubeconfig")}, args...)...)
}
