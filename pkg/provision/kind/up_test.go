package kind

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	kinderrors "sigs.k8s.io/kind/pkg/errors"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// provider is one over a fake engine; nothing in these tests gets as far as
// the node image.
func provider(t *testing.T, e *engine.Engine) *Provider {
	t.Helper()
	p, err := New(Options{StateDir: t.TempDir(), NodeImage: func(context.Context, *engine.Engine, progress.Log) (string, error) {
		t.Error("the node image was asked for before everything was checked")
		return "", errors.New("no image")
	}})
	if err != nil {
		t.Fatal(err)
	}
	p.engine = e
	return p
}

const usersCluster = `"ps -a") echo id1;; "inspect --type") cat <<'EOF'
[{"Name":"lab-control-plane","State":{"Running":true},"Config":{"Labels":{"io.x-k8s.kind.role":"control-plane","dev.labctl.node":"x"}},"NetworkSettings":{"Networks":{"kind":{}}}}]
EOF
;; "rm "*|"kill "*|"network "*) echo "must not be called" >&2; exit 1;;`

func TestUpRefuses(t *testing.T) {
	usersFile := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(usersFile, []byte("apiVersion: v1\nkind: Config\nusers: [{name: kind-lab, user: {token: mine}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, cases, kubeconfig string
		wants                   []string
	}{
		{"a kind cluster of the user's", usersCluster, "", []string{"labctl didn't make", "kind delete cluster --name lab", "another --name"}},
		{"a kubeconfig entry of the user's", "", usersFile, []string{"user kind-lab", "--kubeconfig"}},
		{"a kubeconfig without rights", "", filepath.Join(usersFile, "below"), []string{"not a directory", "--kubeconfig"}},
		{"an engine that dies", `"ps -a") echo "Cannot connect to the Docker daemon" >&2; exit 1;;`, "", []string{"Cannot connect", "start the daemon"}},
		{"an engine that talks nonsense", `"ps -a") echo id1;; "inspect --type") echo "{";;`, "", []string{"the engine's inspect"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := provider(t, fakeEngine(t, c.cases))
			if c.kubeconfig == "" {
				c.kubeconfig = filepath.Join(t.TempDir(), "config")
			}
			_, err := p.Up(t.Context(), provision.ClusterSpec{Name: "lab", Kubeconfig: c.kubeconfig}, progress.Discard)
			for _, want := range c.wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("lacks %q: %v", want, err)
				}
			}
		})
	}
}

func TestDownLeavesAUsersClusterAlone(t *testing.T) {
	p := provider(t, fakeEngine(t, usersCluster))
	if err := p.Down(t.Context(), "lab", progress.Discard); err == nil || !strings.Contains(err.Error(), "labctl didn't make") {
		t.Errorf("error is %v", err)
	}
}

func TestGetFindsNothing(t *testing.T) {
	p := provider(t, fakeEngine(t, ""))
	if _, err := p.Get(t.Context(), "lab"); !errors.Is(err, provision.ErrNotFound) || !strings.Contains(err.Error(), "labctl up") {
		t.Errorf("error is %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	p := provider(t, fakeEngine(t, ""))
	l, err := p.lock("lab")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Up(t.Context(), provision.ClusterSpec{Name: "lab", Kubeconfig: filepath.Join(t.TempDir(), "c")}, progress.Discard)
	if !errors.Is(err, filelock.ErrHeld) || !strings.Contains(err.Error(), "another labctl is at work on cluster lab") || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("error is %v", err)
	}
	if err := p.Down(t.Context(), "other", progress.Discard); err != nil {
		t.Errorf("another name: %v", err)
	}
	l.release()
	if err := p.Down(t.Context(), "lab", progress.Discard); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(p.o.StateDir, "clusters"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStateFolderWithoutRights(t *testing.T) {
	p := provider(t, fakeEngine(t, ""))
	p.o.StateDir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p.o.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Down(t.Context(), "lab", progress.Discard); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "XDG_STATE_HOME") {
		t.Errorf("error is %v", err)
	}
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	port := int32(ln.Addr().(*net.TCPAddr).Port)
	docker := &engine.Engine{Name: engine.Docker}
	if err := preflight(docker, port); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d on 127.0.0.1 is taken", port)) {
		t.Errorf("taken: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, free := range []int32{port, 0} {
		if err := preflight(docker, free); err != nil {
			t.Errorf("free: %v", err)
		}
	}
}

func TestExplainCreate(t *testing.T) {
	for _, c := range []struct {
		name, command, output string
		wants                 []string
	}{
		{"port taken meanwhile", "podman run", "Error: cannot listen on the TCP port: listen tcp4 127.0.0.1:6443: bind: address already in use", []string{"was taken by another program", "6443"}},
		{"the same in Docker's words", "docker run", "Bind for 127.0.0.1:6443 failed: port is already allocated", []string{"was taken by another program"}},
		{"disk full", "podman run", "Error: mkdir /var/lib/containers/storage/overlay/x: no space left on device", []string{"no space left", "free some space"}},
		{"daemon dies midway", "docker exec", "Cannot connect to the Docker daemon", []string{"start the daemon"}},
		{"kubeadm fails", "podman exec x kubeadm init", strings.Repeat("noise\n", 50) + "timed out waiting for the condition: operation not permitted", []string{"noise", "timed out"}},
	} {
		argv := strings.Fields(c.command)
		err := explainCreate(kinderrors.Wrap(&exec.RunError{Command: argv, Output: []byte(c.output), Inner: errors.New("exit status 1")}, "failed"), 6443)
		for _, want := range append(c.wants, argv[0]) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s lacks %q: %v", c.name, want, err)
			}
		}
		if strings.Count(err.Error(), "\n") > 14 {
			t.Errorf("%s: too long: %v", c.name, err)
		}
	}
	plain := errors.New("no output at hand")
	if err := explainCreate(plain, 0); !errors.Is(err, plain) {
		t.Error(err)
	}
}

func TestOvertaken(t *testing.T) {
	for said, want := range map[string]bool{
		`Error: creating container storage: the container name "lab-worker" is already in use by 8dc4. You have to remove that container`: true,
		`Conflict. The container name "/lab-worker" is already in use by container "8dc4"`:                                                true,
		`node(s) already exist for a cluster with the name "lab"`:                                                                         true,
		`listen tcp4 127.0.0.1:6443: bind: address already in use`:                                                                        false,
	} {
		if got := overtaken(explainCreate(&exec.RunError{Command: []string{"podman", "run"}, Output: []byte(said), Inner: errors.New("exit status 125")}, 0)); got != want {
			t.Errorf("%s: %v", said, got)
		}
	}
}

func TestSetEnv(t *testing.T) {
	t.Setenv("LABCTL_TEST_HAD", "old")
	if err := os.Unsetenv("LABCTL_TEST_NEW"); err != nil {
		t.Fatal(err)
	}
	restore, err := setEnv([]string{"LABCTL_TEST_HAD=a=b", "LABCTL_TEST_NEW=n"})
	if err != nil || os.Getenv("LABCTL_TEST_HAD") != "a=b" || os.Getenv("LABCTL_TEST_NEW") != "n" {
		t.Errorf("%v", err)
	}
	restore()
	if _, there := os.LookupEnv("LABCTL_TEST_NEW"); there || os.Getenv("LABCTL_TEST_HAD") != "old" {
		t.Error("not as before")
	}
	if _, err := setEnv([]string{"LABCTL_TEST_HAD=x", "=bad"}); err == nil || os.Getenv("LABCTL_TEST_HAD") != "old" {
		t.Errorf("%v, %s", err, os.Getenv("LABCTL_TEST_HAD"))
	}
}
