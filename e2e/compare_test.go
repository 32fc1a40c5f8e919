//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/isolation-stack/labctl/pkg/compare"
)

// makeClass makes a RuntimeClass for the test.
func makeClass(t *testing.T, kube kubernetes.Interface, name, handler string) {
	t.Helper()
	class := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler}
	classes := kube.NodeV1().RuntimeClasses()
	if _, err := classes.Create(t.Context(), class, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = classes.Delete(context.Background(), name, metav1.DeleteOptions{}) }) // the cluster goes
}

// TestCompare compares the three runtimes, runc under another name, and a
// class whose handler isn't there. It looks at what is there, not at times.
func TestCompare(t *testing.T) {
	_, kube := shared(t)
	makeClass(t, kube, "e2e-same", "runc")
	makeClass(t, kube, "e2e-none", "no-such-handler")
	args := []string{"compare", "--name", sharedName, "--quick", "--seed", "7", "-o", "json"}
	got := labctl(t.Context(), append(args, "--class", "e2e-same", "--class", "e2e-none")...)
	if got.code != 1 { // e2e-none
		t.Fatalf("exit code %d, want 1\n%s", got.code, got.stderr)
	}
	var r compare.Result
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatalf("%v: %.500s", err, got.stdout)
	}
	if r.Kind != compare.Kind || r.Interrupted || r.Method.Seed != 7 || r.Method.Baseline != "runc" || len(r.Method.Order) != 4 {
		t.Errorf("%+v", r.Method)
	}
	if n := r.Node; n.Name == "" || n.Kernel == "" || n.CPUs < 1 || n.Memory <= 0 || len(n.Before.Load) != 3 || len(n.After.Load) != 3 || len(n.Loop.Medians) != 5 || n.Loop.Best <= 0 {
		t.Errorf("%+v", n)
	}
	names := []string{}
	for _, rt := range r.Runtimes {
		names = append(names, rt.Name)
		if rt.Name == "e2e-none" {
			// A Pod that can't start is an error and no number.
			if !strings.Contains(rt.Error, "no-such-handler") || len(rt.Results) > 0 {
				t.Errorf("%+v", rt)
			}
			continue
		}
		if rt.Error != "" || rt.Untestable != "" || len(rt.Results) != len(r.Metrics) {
			t.Errorf("%s: %d results, error %q, untestable %q", rt.Name, len(rt.Results), rt.Error, rt.Untestable)
		}
		for _, m := range rt.Results {
			checkMeasured(t, rt.Name, m)
		}
	}
	if want := []string{"runc", "gvisor", "wasmedge", "e2e-same", "e2e-none"}; !slices.Equal(names, want) {
		t.Errorf("runtimes %v, want %v", names, want)
	}
	gone(t, kube)
}

func checkMeasured(t *testing.T, name string, m compare.Measured) {
	t.Helper()
	if name == "wasmedge" && m.Metric == "syscall" {
		if m.Untestable == "" || m.Median != nil {
			t.Errorf("a module makes no system calls: %+v", m)
		}
		return
	}
	want := 6
	if m.Metric == compare.MemoryNext {
		want = 3
	}
	if len(m.Samples) != want || m.Median == nil || m.Untestable != "" || m.Unit == "" || m.Source == nil || m.Source.Where == "" {
		t.Errorf("%s %s: %+v", name, m.Metric, m)
		return
	}
	if m.Median.Value <= 0 || m.Median.Low > m.Median.Value || m.Median.High < m.Median.Value {
		t.Errorf("%s %s: median %+v", name, m.Metric, *m.Median)
	}
	if (m.Difference == nil) != (name == "runc") {
		t.Errorf("%s %s: difference %+v", name, m.Metric, m.Difference)
	}
}

// gone wants no Pod and no namespace of the comparison left.
func gone(t *testing.T, kube kubernetes.Interface) {
	t.Helper()
	const namespace = "labctl-compare"
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := kube.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("namespace %s is still there: %v", namespace, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// TestCompareInterrupted presses Ctrl-C while Pods stand.
func TestCompareInterrupted(t *testing.T) {
	_, kube := shared(t)
	cmd := command(t.Context(), "compare", "--name", sharedName, "--runtime", "runc,gvisor")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; {
		pods, err := kube.CoreV1().Pods("labctl-compare").List(t.Context(), metav1.ListOptions{})
		if err == nil && len(pods.Items) > 1 {
			break
		}
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill() // the test fails anyway
			t.Fatalf("no two Pods: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	begun := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code is looked at
	if code := cmd.ProcessState.ExitCode(); code != 130 || time.Since(begun) > 6*time.Second {
		t.Errorf("exit code %d after %s, want 130 within 5 s", code, time.Since(begun))
	}
	gone(t, kube)
}

func TestCompareRefusals(t *testing.T) {
	for _, c := range []struct {
		args string
		say  string
	}{
		{"--runtime runc", "nothing to compare"},
		{"--runtime runc,kata", "--class"},
		{"--runtime runc --class runc", "twice"},
		{"--runs 2", "3 to 25"},
		{"--quick --runs 5", "quick"},
		{"-o junit", "--output"},
		{"extra", "extra"},
	} {
		r := labctl(t.Context(), append([]string{"compare", "--name", "labctl-none"}, strings.Fields(c.args)...)...)
		if r.code != 2 || !strings.Contains(r.stderr, c.say) || r.stdout != "" {
			t.Errorf("compare %s: exit code %d, says %q, want %q", c.args, r.code, r.stderr, c.say)
		}
	}
	if r := labctl(t.Context(), "compare", "--name", "labctl-none"); r.code != 3 || !strings.Contains(r.stderr, "labctl up --name labctl-none") {
		t.Errorf("no cluster: exit code %d, says %q", r.code, r.stderr)
	}
}
