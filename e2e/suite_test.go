//go:build e2e

// Package e2e drives the real binary, bin/labctl, against real clusters. The
// tests share one cluster, brought up once; tests that break clusters make
// their own. Run it with make test: it needs root (or an engine that starts
// privileged containers) and the packages of labctl doctor.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// sharedName is the cluster that tests share. LABCTL_E2E_CLUSTER keeps two
// runs on one machine apart.
var sharedName = cmp.Or(os.Getenv("LABCTL_E2E_CLUSTER"), "labctl-e2e")

// suite is what all tests share.
var suite struct {
	binary string
	dir    string // temporary folder; holds the kubeconfig
	up     sync.Once
	upErr  error
	isUp   bool
}

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	binary := os.Getenv("LABCTL_BIN")
	if binary == "" {
		binary = filepath.Join("..", "bin", "labctl")
	}
	binary, err := filepath.Abs(binary)
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v; build it with make build\n", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "labctl-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	suite.binary, suite.dir = binary, dir
	code := m.Run()
	if suite.isUp {
		if r := labctl(context.Background(), "down", "--name", sharedName); r.code != 0 {
			fmt.Fprintf(os.Stderr, "e2e: down of the shared cluster: exit code %d\n%s", r.code, r.stderr)
			return 1
		}
	}
	return code
}

// run is what one run of labctl gave.
type run struct {
	stdout, stderr string
	code           int
}

// kubeconfig is the file that all runs of labctl use, never the user's.
func kubeconfig() string { return filepath.Join(suite.dir, "kubeconfig") }

// command is labctl with arguments, not started yet.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, suite.binary, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig())
	return cmd
}

// labctl runs labctl to its end; its status goes to the test's own stderr too.
func labctl(ctx context.Context, args ...string) run { return finish(command(ctx, args...)) }

// finish runs a command to its end.
func finish(cmd *exec.Cmd) run {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	r := run{stdout.String(), stderr.String(), 0}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		r.code = exit.ExitCode()
	case err != nil:
		r.code, r.stderr = -1, r.stderr+err.Error()
	}
	return r
}

// must runs labctl and fails the test if its exit code isn't 0.
func must(t *testing.T, args ...string) run {
	t.Helper()
	r := labctl(t.Context(), args...)
	if r.code != 0 {
		t.Fatalf("labctl %q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return r
}

// shared brings the shared cluster up at its first use and returns clients
// for it. Tests may run side by side on it, each in namespaces of its own.
func shared(t *testing.T) (*rest.Config, kubernetes.Interface) {
	t.Helper()
	suite.up.Do(func() {
		suite.isUp = true
		start := time.Now()
		if r := labctl(context.Background(), "up", "--name", sharedName); r.code != 0 {
			suite.upErr = fmt.Errorf("labctl up: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
		}
		fmt.Fprintf(os.Stderr, "e2e: shared cluster: %v\n", time.Since(start).Round(time.Second))
	})
	if suite.upErr != nil {
		t.Fatal(suite.upErr)
	}
	return clients(t, sharedName)
}

// clients are for a cluster that is up.
func clients(t *testing.T, name string) (*rest.Config, kubernetes.Interface) {
	t.Helper()
	loader := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig()}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loader, &clientcmd.ConfigOverrides{CurrentContext: "kind-" + name}).ClientConfig()
	if err != nil {
		t.Fatalf("kubeconfig of cluster %s: %v", name, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return config, client
}
