package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// create makes the cluster; nothing of it is there. On an error nothing is
// left, except after an interruption, where the next Up clears up.
func (p *Provider) create(ctx context.Context, e *engine.Engine, spec provision.ClusterSpec, image string, l *lock, log progress.Log) (*Cluster, error) {
	if err := preflight(e, p.o.APIServerPort); err != nil {
		return nil, err
	}
	id, err := imageID(ctx, e, image)
	if err != nil {
		return nil, err
	}
	f := facts{image: image, apiServerPort: p.o.APIServerPort}
	if f.cgroupV1, err = onCgroupV1(ctx, e); err != nil {
		return nil, err
	}
	if f.cgroupV1 {
		if f.kubernetes, err = kubernetesVersion(ctx, e, image); err != nil {
			return nil, err
		}
	}
	config, err := clusterConfig(spec, f)
	if err != nil {
		return nil, err
	}
	if err := ensureNetwork(ctx, e, spec.Name); err != nil {
		return nil, err
	}
	c, err := p.createAndOpen(ctx, e, spec, config, id, l, log)
	if err == nil || ctx.Err() != nil {
		return c, err
	}
	err = explainCreate(err, p.o.APIServerPort)
	collectLogs(ctx, e, spec.Name, log)
	if rmErr := remove(ctx, e, spec.Name, log); rmErr != nil {
		err = errors.Join(err, fmt.Errorf("and what there was of it could not be removed: %w; `labctl down --name %s` removes it", rmErr, spec.Name))
	}
	if log.Path() != "" {
		err = fmt.Errorf("%w\nthe full log with the node's journal is %s", err, log.Path())
	}
	return nil, err
}

func (p *Provider) createAndOpen(ctx context.Context, e *engine.Engine, spec provision.ClusterSpec, config *v1alpha4.Cluster, imageID string, l *lock, log progress.Log) (*Cluster, error) {
	if err := p.runKind(ctx, e, config, l, log); err != nil {
		return nil, fmt.Errorf("kind could not make cluster %s: %w", spec.Name, err)
	}
	nodes, err := findNodes(ctx, e, spec.Name)
	if err != nil {
		return nil, err
	}
	c, err := p.connect(ctx, e, spec.Name, nodes)
	if err != nil {
		return nil, err
	}
	if err := p.prepareUntilReady(ctx, c, spec, log); err != nil {
		return nil, err
	}
	return c, c.markComplete(ctx, imageID)
}

// prepareUntilReady ends when the nodes are Ready and what was prepared
// meanwhile is done, or when either can't be.
func (p *Provider) prepareUntilReady(ctx context.Context, c *Cluster, spec provision.ClusterSpec, log progress.Log) error {
	ctx, cancel := context.WithCancel(ctx)
	prepared := make(chan struct{})
	go func() {
		defer close(prepared)
		if p.o.Prepare != nil {
			p.o.Prepare(ctx, c, spec)
		}
	}()
	err := c.waitReady(ctx, readyLimit, log)
	if err != nil {
		cancel()
	}
	<-prepared
	cancel()
	return err
}

// environment guards this process's environment while kind runs: kind starts
// the engine by its name, with what it finds there, and takes the network's
// name from it.
var environment sync.Mutex

// runKind runs kind's Create. kind knows no context: when ctx ends, the
// engine's programs that it started are ended, one by one as they come, which
// makes it give up; if it doesn't in time, it is left alone and the cluster's
// lock stays held until it does.
func (p *Provider) runKind(ctx context.Context, e *engine.Engine, config *v1alpha4.Cluster, l *lock, log progress.Log) error {
	environment.Lock()
	restore, err := setEnv(append([]string{
		"PATH=" + filepath.Dir(e.Path) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"KIND_EXPERIMENTAL_DOCKER_NETWORK=" + networkOf(config.Name),
		"KIND_EXPERIMENTAL_PODMAN_NETWORK=" + networkOf(config.Name),
	}, e.Env...))
	if err != nil {
		environment.Unlock()
		return err
	}
	// A kubeconfig of kind's own, thrown away: the user's one is written by
	// labctl, which marks its entries and overwrites nobody's.
	scratch := p.scratch(config.Name)
	if err := os.RemoveAll(scratch); err != nil {
		restore()
		environment.Unlock()
		return fmt.Errorf("labctl's state: %w", err)
	}
	logger := newLogger(log, config.Name, len(config.Nodes) > 1)
	result, done := make(chan error, 1), make(chan struct{})
	l.until = done
	go func() {
		defer close(done)
		err := cluster.NewProvider(cluster.ProviderWithLogger(logger), providerOption(e)).Create(config.Name,
			cluster.CreateWithV1Alpha4Config(config),
			cluster.CreateWithRetain(true), // logs first, then removed here
			cluster.CreateWithKubeconfigPath(filepath.Join(scratch, "kubeconfig")),
		)
		restore()
		environment.Unlock()
		result <- errors.Join(err, os.RemoveAll(scratch))
	}()
	select {
	case err = <-result:
		<-done
	case <-ctx.Done():
		err = abandon(result, e.Name)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	logger.end(err)
	if run := exec.RunErrorForError(err); run != nil {
		// Errors that nobody reads must not be lost: kind's hold the output.
		_, _ = fmt.Fprintf(log.Output(), "%s\n%s\n", run.PrettyCommand(), run.Output)
	}
	return err
}

// abandonAfter leaves room below the 5 s in which Ctrl-C must end labctl.
const abandonAfter = 2 * time.Second

func abandon(result <-chan error, program string) error {
	limit := time.After(abandonAfter)
	for {
		endChildren(program)
		select {
		case err := <-result:
			return err
		case <-limit:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func providerOption(e *engine.Engine) cluster.ProviderOption {
	switch e.Name {
	case engine.Podman:
		return cluster.ProviderWithPodman()
	case engine.Nerdctl:
		return cluster.ProviderWithNerdctl(engine.Nerdctl)
	}
	return cluster.ProviderWithDocker()
}

// setEnv sets variables (NAME=VALUE) and returns what undoes it.
func setEnv(vars []string) (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, v := range vars {
		name, value, _ := strings.Cut(v, "=")
		old, had := os.LookupEnv(name)
		if err := os.Setenv(name, value); err != nil {
			restore()
			return nil, fmt.Errorf("environment variable %s: %w", name, err)
		}
		undo = append(undo, func() {
			// Neither fails for a name that could be set.
			if had {
				_ = os.Setenv(name, old)
			} else {
				_ = os.Unsetenv(name)
			}
		})
	}
	return restore, nil
}

// preflight sees to what kind would find late or say unclearly.
func preflight(e *engine.Engine, port int32) error {
	if runtime.GOOS == "linux" && e.Name != engine.Docker {
		// kind mounts it into nodes; Docker's daemon makes it if need be.
		if _, err := os.Stat("/lib/modules"); err != nil {
			return fmt.Errorf("kind mounts /lib/modules into its nodes: %w; `labctl doctor --fix` makes it, empty", err)
		}
	}
	if port == 0 {
		return nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("port %d on 127.0.0.1 is taken by another program; choose another one for the API server, or 0 for a free one", port)
	}
	if err != nil {
		return fmt.Errorf("port %d on 127.0.0.1 for the API server: %w", port, err)
	}
	return ln.Close()
}

// onCgroupV1 says whether nodes get cgroup v1.
func onCgroupV1(ctx context.Context, e *engine.Engine) (bool, error) {
	format := "{{.CgroupVersion}}"
	if e.Name == engine.Podman {
		format = "{{.Host.CgroupsVersion}}"
	}
	r, err := e.Run(ctx, "info", "--format", format)
	if err != nil {
		return false, explain(err)
	}
	switch v := strings.TrimSpace(string(r.Stdout)); v {
	case "1", "v1":
		return true, nil
	case "2", "v2":
		return false, nil
	default:
		return false, fmt.Errorf("%s info tells cgroup version %q, which is neither 1 nor 2", e.Name, v)
	}
}

// kubernetesVersion is what kind node images carry in /kind/version.
func kubernetesVersion(ctx context.Context, e *engine.Engine, image string) (string, error) {
	r, err := e.Run(ctx, "run", "--rm", "--network", "none", "--entrypoint", "cat", image, "/kind/version")
	if err != nil {
		return "", fmt.Errorf("%s is no kind node image: %w", image, explain(err))
	}
	return strings.TrimSpace(string(r.Stdout)), nil
}

// explainCreate says what went wrong in kind's run from the output of the
// program that failed.
func explainCreate(err error, port int32) error {
	run := exec.RunErrorForError(err)
	if run == nil {
		return err
	}
	said := strings.TrimSpace(string(run.Output))
	lower := strings.ToLower(said)
	switch {
	case strings.Contains(lower, "address already in use"), strings.Contains(lower, "port is already allocated"):
		return fmt.Errorf("the API server's port (%d; 0 is any) was taken by another program: %w\n  %s", port, err, lastLines(said, 3))
	case engine.Advice(errors.New(lower)) != "" && !strings.Contains(run.PrettyCommand(), "kubeadm"):
		return fmt.Errorf("%w\n  %s\n  %s", err, lastLines(said, 3), engine.Advice(errors.New(lower)))
	}
	return fmt.Errorf("%w\n  %s", err, lastLines(said, 12))
}

// overtaken says that a container of the cluster came up from elsewhere
// between its removal and its making, in the words of kind and the engines.
func overtaken(err error) bool {
	return strings.Contains(err.Error(), "already exist for a cluster") || strings.Contains(err.Error(), "is already in use by")
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}

// collectLogs writes what the nodes say about their failure into the log.
func collectLogs(ctx context.Context, e *engine.Engine, name string, log progress.Log) {
	nodes, err := findNodes(ctx, e, name)
	if err != nil {
		return // the engine itself is gone, which the error at hand says
	}
	for _, n := range nodes {
		for _, args := range [][]string{
			{"logs", "--tail", "100", n.name},
			{"exec", n.name, "journalctl", "--no-pager", "-n", "200", "-u", "kubelet", "-u", "containerd"},
			{"exec", n.name, "crictl", "ps", "-a"},
		} {
			limited, cancel := context.WithTimeout(ctx, 20*time.Second)
			c := e.Command(args...)
			c.Log = log.Output()
			// A node that doesn't answer has nothing to say.
			_, _ = process.Run(limited, c)
			cancel()
		}
	}
}
