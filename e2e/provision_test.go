//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// ownName is the cluster that these tests break.
var ownName = sharedName + "-own"

// background is a labctl that runs while the test looks on.
type background struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan error
}

func inBackground(t *testing.T, args ...string) *background {
	t.Helper()
	b := &background{cmd: command(context.Background(), args...), done: make(chan error, 1)}
	b.cmd.Stdout, b.cmd.Stderr = &b.stdout, &b.stderr
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { b.done <- b.cmd.Wait() }()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // it mostly has ended
	})
	return b
}

// signal sends the signal and waits for the end, at most limit.
func (b *background) signal(t *testing.T, s os.Signal, limit time.Duration) (code int) {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		t.Fatalf("labctl had ended before it was interrupted: %v\n%s", err, b.stderr.String())
	}
	select {
	case err := <-b.done:
		t.Logf("labctl ended: %v", err)
		return b.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		t.Fatalf("labctl is still there %s after %s", limit, s)
		return 0
	}
}

func chooseEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Choose(t.Context(), engine.Options{}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ask(t *testing.T, e *engine.Engine, args ...string) string {
	t.Helper()
	r, err := e.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(r.Stdout))
}

// containers are the IDs of a kind cluster's containers.
func containers(t *testing.T, e *engine.Engine, cluster string) []string {
	return strings.Fields(ask(t, e, "ps", "-a", "-q", "--no-trunc", "--filter", "label=io.x-k8s.kind.cluster="+cluster))
}

// until waits for what labctl does in the background.
func until(t *testing.T, b *background, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Minute); !ok(); time.Sleep(200 * time.Millisecond) {
		select {
		case err := <-b.done:
			t.Fatalf("labctl ended (%v) before %s\n%s", err, what, b.stderr.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s\n%s", what, b.stderr.String())
		}
	}
}

// lockedBy is the process that has the cluster's lock, or had it last, or 0.
func lockedBy(t *testing.T, cluster string) (pid int) {
	t.Helper()
	state, err := engine.DefaultStateDir()
	if err != nil {
		t.Fatal(err)
	}
	held, err := os.ReadFile(filepath.Join(state, "clusters", cluster+".lock"))
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscanf(string(held), "pid %d", &pid) // 0 between making the file and writing it
	return pid
}

// noTraceOf fails the test for everything that a cluster leaves behind.
func noTraceOf(t *testing.T, e *engine.Engine, cluster string) {
	t.Helper()
	if left := containers(t, e, cluster); len(left) > 0 {
		t.Errorf("containers left: %v", left)
	}
	if nets := ask(t, e, "network", "ls", "--format", "{{.Name}}"); strings.Contains("\n"+nets+"\n", "\nlabctl-"+cluster+"\n") {
		t.Errorf("network left: %s", nets)
	}
	if e.Name == engine.Podman {
		var volumes []struct{ Labels map[string]string }
		if err := json.Unmarshal([]byte(ask(t, e, "volume", "ls", "--format", "json")), &volumes); err != nil {
			t.Fatal(err)
		}
		for _, v := range volumes {
			for label := range v.Labels {
				if strings.HasPrefix(label, cluster+"-") {
					t.Errorf("volume left, of %s", label)
				}
			}
		}
	}
	if config, err := os.ReadFile(kubeconfig()); err == nil && strings.Contains(string(config), "kind-"+cluster+"\n") {
		t.Errorf("kubeconfig entries left:\n%s", config)
	}
	state, err := engine.DefaultStateDir()
	if err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(filepath.Join(state, "clusters", cluster+".*")); err != nil || len(files) > 0 {
		t.Errorf("state left: %v, %v", files, err)
	}
}

// The tests below are one story about one cluster, in order: each begins
// where the one before left it.
func TestProvision(t *testing.T) {
	// The node image must be there, or interruptions would hit its making.
	shared(t)
	e := chooseEngine(t)
	t.Cleanup(func() { labctl(context.Background(), "down", "--name", ownName) })
	up := []string{"up", "--name", ownName, "--workers", "1"}

	t.Run("down of nothing is no error", func(t *testing.T) { must(t, "down", "--name", ownName) })

	t.Run("Ctrl-C ends within 5 s and says how to go on", func(t *testing.T) {
		b := inBackground(t, up...)
		until(t, b, "a container", func() bool { return len(containers(t, e, ownName)) > 0 })
		if code := b.signal(t, os.Interrupt, 5*time.Second); code != 130 {
			t.Errorf("exit code %d, want 130\n%s", code, b.stderr.String())
		}
		if !strings.Contains(b.stderr.String(), "Run the same command again") {
			t.Errorf("no word on how to go on:\n%s", b.stderr.String())
		}
	})

	t.Run("a second up at the same time is refused", func(t *testing.T) {
		b := inBackground(t, up...)
		// A container may be left of the labctl that was interrupted; only the
		// lock says that this one is at work.
		until(t, b, "lock", func() bool { return lockedBy(t, ownName) == b.cmd.Process.Pid })
		r := labctl(t.Context(), up...)
		if r.code != 3 || !strings.Contains(r.stderr, "another labctl is at work on cluster "+ownName) {
			t.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
		// Half-way through kubeadm, the worst of times.
		until(t, b, "an API server", func() bool {
			_, err := e.Run(t.Context(), "exec", ownName+"-control-plane", "test", "-e", "/etc/kubernetes/admin.conf")
			return err == nil
		})
		b.signal(t, syscall.SIGKILL, 5*time.Second)
	})

	t.Run("up after kill -9 converges", func(t *testing.T) {
		must(t, up...)
		_, client := clients(t, ownName)
		nodes, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ready := 0
		for _, n := range nodes.Items {
			for _, c := range n.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if ready != 2 {
			t.Errorf("%d of %d nodes are Ready, want 2", ready, len(nodes.Items))
		}
	})

	t.Run("up again changes nothing", func(t *testing.T) {
		before := containers(t, e, ownName)
		// A lab that needs fewer nodes makes no new cluster either.
		must(t, "up", "--name", ownName)
		if after := containers(t, e, ownName); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("containers were %v and are %v", before, after)
		}
	})

	t.Run("a node that stopped is started", func(t *testing.T) {
		before := containers(t, e, ownName)
		ask(t, e, "kill", ownName+"-worker")
		must(t, up...)
		if after := containers(t, e, ownName); strings.Join(after, " ") != strings.Join(before, " ") {
			t.Errorf("containers were %v and are %v", before, after)
		}
	})

	t.Run("a node that is gone is replaced", func(t *testing.T) {
		ask(t, e, "rm", "-f", "-v", ownName+"-worker")
		must(t, up...)
		if n := len(containers(t, e, ownName)); n != 2 {
			t.Errorf("%d containers, want 2", n)
		}
	})

	t.Run("a node killed behind the engine's back is replaced", func(t *testing.T) {
		// Its first process and, under Podman, the one that watches it.
		pids := "{{.State.Pid}}"
		if e.Name == engine.Podman {
			pids = "{{.State.ConmonPid}} " + pids
		}
		for _, field := range strings.Fields(ask(t, e, "inspect", "--format", pids, ownName+"-control-plane")) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid <= 1 {
				t.Fatalf("process %q: %v", field, err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatalf("kill %d: %v", pid, err)
			}
		}
		if e.Name == engine.Podman { // Docker sees the end, and the node is started like any that stopped
			r := labctl(t.Context(), "verify", "--name", ownName, "isolation-stack")
			if r.code != 3 || !strings.Contains(r.stderr, "labctl up") {
				t.Errorf("verify: exit code %d\n%s", r.code, r.stderr)
			}
		}
		must(t, "up", "--name", ownName)
		_, client := clients(t, ownName)
		if _, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})

	t.Run("down leaves nothing", func(t *testing.T) {
		must(t, "down", "--name", ownName)
		noTraceOf(t, e, ownName)
		// The other cluster, side by side with this one, still works.
		_, client := clients(t, sharedName)
		if _, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Errorf("the shared cluster: %v", err)
		}
	})

	t.Run("a user's cluster of that name is left alone", func(t *testing.T) {
		// What plain kind with labctl's own node image makes, not started.
		image := ask(t, e, "inspect", "--format", "{{.Image}}", sharedName+"-control-plane")
		id := ask(t, e, "create", "--name", ownName+"-control-plane",
			"--label", "io.x-k8s.kind.cluster="+ownName, "--label", "io.x-k8s.kind.role=control-plane", image)
		defer func() { ask(t, e, "rm", "-f", "-v", id) }()
		for _, command := range []string{"up", "down"} {
			r := labctl(t.Context(), command, "--name", ownName)
			if r.code != 3 || !strings.Contains(r.stderr, "labctl didn't make") {
				t.Errorf("%s: exit code %d\n%s", command, r.code, r.stderr)
			}
		}
		if left := containers(t, e, ownName); len(left) != 1 {
			t.Errorf("the user's container: %v", left)
		}
	})

	t.Run("an engine that is not there is a missing prerequisite", func(t *testing.T) {
		r := labctl(t.Context(), "up", "--name", ownName, "--engine", "nerdctl")
		if _, err := exec.LookPath("nerdctl"); err == nil {
			return // then it may well work
		}
		if r.code != 4 || !strings.Contains(r.stderr, "nerdctl: not installed") {
			t.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
	})
}
