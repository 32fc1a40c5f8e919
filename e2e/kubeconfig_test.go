//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"golang.org/x/sys/unix"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// ownClasses keeps what these tests make apart from the shared cluster's own.
var ownClasses = []string{"--runtime-class", "runc=kc-runc", "--runtime-class", "gvisor=kc-gvisor", "--runtime-class", "wasmedge=kc-wasmedge"}

// TestKubeconfig uses the shared cluster as one that labctl finds by a
// kubeconfig. Seen from here its node is another machine: it is a container
// with a machine id of its own.
func TestKubeconfig(t *testing.T) {
	_, client := shared(t)
	e := chooseEngine(t)
	host := registryFor(t, e, sharedName+"-control-plane")
	before, err := os.ReadFile(kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	common := []string{"--provider", "kubeconfig", "--name", "kc", "--context", "kind-" + sharedName}
	up := append(append([]string{"up"}, common...), ownClasses...)
	t.Cleanup(func() { labctl(context.Background(), append([]string{"down"}, common...)...) })

	t.Run("the plan changes nothing", func(t *testing.T) {
		r := must(t, append(up, "--dry-run", "-o", "json")...)
		var plan struct {
			Nodes   []struct{ Here bool }
			Objects []struct{ Name, Action string }
			Images  []struct{ Action string }
		}
		if err := json.Unmarshal([]byte(r.stdout), &plan); err != nil {
			t.Fatalf("%v\n%s", err, r.stdout)
		}
		if len(plan.Nodes) != 1 || plan.Nodes[0].Here || len(plan.Objects) != 3 || plan.Objects[1].Name != "kc-gvisor" || plan.Objects[1].Action != "create" || plan.Images[0].Action != "refuse" {
			t.Errorf("%s", r.stdout)
		}
		if text := must(t, append(up, "--dry-run")...).stdout; !strings.Contains(text, "create RuntimeClass kc-gvisor") {
			t.Errorf("%s", text)
		}
		if _, err := client.NodeV1().RuntimeClasses().Get(t.Context(), "kc-gvisor", metav1.GetOptions{}); err == nil {
			t.Error("the plan made a RuntimeClass")
		}
	})

	t.Run("without a way for the images", func(t *testing.T) {
		r := labctl(t.Context(), up...)
		if r.code != 3 || !strings.Contains(r.stderr, "--registry HOST/PATH") {
			t.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
	})

	t.Run("up proves the classes from inside", func(t *testing.T) {
		r := must(t, append(up, "--registry", host+"/labs")...)
		for _, s := range []string{"is another machine (its machine id is another one)", "containerd's configuration is not read back", "kc-gvisor: ", "seen from inside only"} {
			if !strings.Contains(r.stderr, s) {
				t.Errorf("says nothing of %q\n%s", s, r.stderr)
			}
		}
		must(t, append(up, "--registry", host+"/labs")...) // converges
	})

	t.Run("labs are verified as far as they can be seen", func(t *testing.T) {
		// What a Pod's own report or the API decides, and what takes a look at
		// the node: its kernel, containerd's times.
		want := map[string]lab.Verdict{
			"29-17.memory": lab.Confirmed, "29-96": lab.Refuted, "29-124": lab.Confirmed,
			"29-5": lab.Untestable, "29-88.pod": lab.Untestable,
		}
		// Context and registry are those that up was given.
		args := []string{"verify", "--provider", "kubeconfig", "--name", "kc", "-o", "json", "isolation-stack", "l-3-containerization", "l-4-sandboxing"}
		for id := range want {
			args = append(args, "--claim", id)
		}
		r := labctl(t.Context(), args...)
		got, err := result.Read([]byte(r.stdout))
		if err != nil || r.code != 0 {
			t.Fatalf("exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
		}
		seen := 0
		for _, l := range got.Labs {
			for _, c := range l.Claims {
				seen++
				if c.Error != "" || c.Verdict != want[c.ID] {
					t.Errorf("%s: %s, want %s: %v %s\n%s", c.ID, c.Verdict, want[c.ID], c.Reason, c.Error, shown(c))
				}
				if c.Verdict == lab.Untestable && !strings.Contains(c.Reason.EN, "can't be looked into from here") {
					t.Errorf("%s is untestable because %s", c.ID, c.Reason.EN)
				}
			}
		}
		if seen != len(want) {
			t.Errorf("%d claims of %d", seen, len(want))
		}
	})

	t.Run("a class that isn't what it is called", func(t *testing.T) {
		users := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "kc-users"}, Handler: "runc"}
		if _, err := client.NodeV1().RuntimeClasses().Create(t.Context(), users, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r := labctl(t.Context(), append(append([]string{"up"}, common...), "--registry", host+"/labs", "--runtime-class", "runc=kc-runc", "--runtime-class", "gvisor=kc-users", "--runtime-class", "wasmedge=kc-wasmedge")...)
		for _, s := range []string{"RuntimeClass kc-users is there already and is used: handler runc", "RuntimeClass kc-users is not shown to be gvisor", "the kernel inside is the node's"} {
			if r.code != 3 || !strings.Contains(r.stderr, s) {
				t.Errorf("exit code %d, says nothing of %q\n%s", r.code, s, r.stderr)
			}
		}
		must(t, append([]string{"down"}, common...)...)
		// Still there: labctl didn't make it, so it didn't remove it.
		if err := client.NodeV1().RuntimeClasses().Delete(t.Context(), users.Name, metav1.DeleteOptions{}); err != nil {
			t.Errorf("the user's class: %v", err)
		}
		must(t, append(up, "--registry", host+"/labs")...)
	})

	t.Run("down takes what up made", func(t *testing.T) {
		must(t, append([]string{"down"}, common...)...)
		classes, err := client.NodeV1().RuntimeClasses().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, c := range classes.Items {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"gvisor", "runc", "wasmedge"}) {
			t.Errorf("RuntimeClasses: %v", names)
		}
		if after, err := os.ReadFile(kubeconfig()); err != nil || string(after) != string(before) {
			t.Errorf("the kubeconfig was touched: %v", err)
		}
		r := labctl(t.Context(), append([]string{"verify", "isolation-stack"}, common...)...)
		if r.code != 3 || !strings.Contains(r.stderr, "labctl up --provider kubeconfig --name kc") {
			t.Errorf("verify after down: exit code %d\n%s", r.code, r.stderr)
		}
	})

	t.Run("on the node itself everything can be seen", func(t *testing.T) { onTheNode(t, e) })
}

// onTheNode runs labctl where it is a node: the proof reads the handlers back
// and looks at the processes, and images are loaded without a registry.
func onTheNode(t *testing.T, e *engine.Engine) {
	node := sharedName + "-control-plane"
	const dir = "/tmp/kc"
	ask(t, e, "exec", node, "mkdir", "-p", dir)
	ask(t, e, "cp", suite.binary, node+":"+dir+"/labctl")
	inside := func(args ...string) (string, error) {
		argv := append([]string{"exec", "-e", "KUBECONFIG=/etc/kubernetes/admin.conf", "-e", "XDG_STATE_HOME=" + dir + "/state", "-e", "HOME=" + dir, node, "sh", "-c", `"$@" 2>&1`, "sh", dir + "/labctl"}, args...)
		r, err := e.Run(context.Background(), argv...)
		return string(r.Stdout), err
	}
	common := []string{"--provider", "kubeconfig", "--name", "kc-inside"}
	t.Cleanup(func() {
		if out, err := inside(append([]string{"down"}, common...)...); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		if _, err := e.Run(context.Background(), "exec", node, "rm", "-rf", dir); err != nil {
			t.Error(err)
		}
	})
	out, err := inside(append(append([]string{"up"}, common...), ownClasses...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range []string{"below containerd-shim-runsc-v1", "(runsc-sandbox)", "process wasmedge"} {
		if !strings.Contains(out, s) {
			t.Errorf("the proof says nothing of %q\n%s", s, out)
		}
	}
	if strings.Contains(out, "another machine") || strings.Contains(out, "not read back") {
		t.Errorf("the node doesn't know itself\n%s", out)
	}
	out, err = inside(append([]string{"verify", "isolation-stack", "--claim", "29-5", "-o", "wide"}, common...)...)
	if err != nil || !strings.Contains(out, "confirmed") {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

// registryFor serves one registry at the same address of loopback for this
// machine and for a node, which has a loopback of its own.
func registryFor(t *testing.T, e *engine.Engine, node string) string {
	t.Helper()
	here, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(ask(t, e, "inspect", "--format", "{{.State.Pid}}", node))
	if err != nil {
		t.Fatal(err)
	}
	there, err := listenAt(pid, here.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(t.TempDir())),
		registry.Logger(log.New(io.Discard, "", 0)))}
	for _, l := range []net.Listener{here, there} {
		go func() { _ = server.Serve(l) }() // it ends with Close
	}
	t.Cleanup(func() { _ = server.Close() })
	return here.Addr().String()
}

// listenAt listens in the network namespace of a process. The thread that
// goes there ends with the goroutine; the socket stays where it was made.
func listenAt(pid int, address string) (net.Listener, error) {
	type answer struct {
		l   net.Listener
		err error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread()
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close() // only read
		}
		if err != nil {
			done <- answer{nil, err}
			return
		}
		l, err := net.Listen("tcp", address)
		done <- answer{l, err}
	}()
	a := <-done
	return a.l, a.err
}
