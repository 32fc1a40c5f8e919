//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nodev1 "k8s.io/api/node/v1"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// verify runs labctl verify and reads its result.
func verify(t *testing.T, args ...string) (result.Result, run) {
	t.Helper()
	r := labctl(t.Context(), append([]string{"verify", "--name", sharedName, "-o", "json"}, args...)...)
	got, err := result.Read([]byte(r.stdout))
	if err != nil {
		t.Fatalf("verify %q: exit code %d: %v\n%s", args, r.code, err, r.stderr)
	}
	return got, r
}

// TestLabs runs every lab in one run: every verdict is as expected, every
// layer has claims that were decided, and enough of the claims were executed.
// What differs in a lab of documents beside the isolation stack, whose
// scenarios wait for controllers, is verified once more by itself, and has to
// be as expected then; more than a few of those are no accident of a busy
// machine.
func TestLabs(t *testing.T) {
	shared(t)
	junit := filepath.Join(t.TempDir(), "report.xml")
	got, r := verify(t, "--all", "--junit", junit)
	t.Logf("all labs: %.0f s", got.Finished.Sub(got.Started).Seconds())
	decided := map[lab.Layer]int{}
	isolation, others := map[string]bool{}, map[string]bool{}
	var again []string
	for _, l := range got.Labs {
		t.Logf("%s: probes of %.0f s", l.Name, l.Seconds)
		if l.Error != "" {
			t.Errorf("lab %s: %s", l.Name, l.Error)
		}
		executed := others
		if slices.Contains(isolationLabs, l.Name) {
			executed = isolation
		}
		for _, c := range l.Claims {
			if c.Error != "" || !c.OK {
				says, report := unexpected(c), t.Errorf
				if !slices.Contains(isolationLabs, l.Name) {
					again = append(again, c.ID)
					report = t.Logf
				}
				report("%s", says)
			}
			if c.Verdict == lab.Confirmed || c.Verdict == lab.Refuted {
				decided[c.Layer]++
				id, _, _ := strings.Cut(c.ID, ".")
				executed[id] = true
			}
		}
	}
	if r.code != got.ExitCode() {
		t.Errorf("exit code %d, the result says %d", r.code, got.ExitCode())
	}
	for _, l := range []lab.Layer{lab.L0, lab.L1, lab.L2, lab.L3, lab.L4} {
		if decided[l] == 0 {
			t.Errorf("no claim of layer %s was decided", l)
		}
	}
	// The aims of the labs: 60 of the 75 strong claims of the isolation stack;
	// of the others 120 of the 135 strong ones, and half of the 84 that aren't.
	if len(isolation) < 60 || len(others) < 120+42 {
		t.Errorf("%d claims of the isolation stack were decided and %d others, want %d and %d or more", len(isolation), len(others), 60, 120+42)
	}
	if b, err := os.ReadFile(junit); err != nil || !strings.Contains(string(b), "<testsuite") {
		t.Errorf("JUnit report: %v, %.200s", err, b)
	}
	if len(again) > 4 {
		t.Fatalf("%d claims are not as expected: %v", len(again), again)
	}
	if len(again) == 0 {
		return
	}
	got, _ = verify(t, append([]string{"--all"}, only(again)...)...)
	for _, l := range got.Labs {
		for _, c := range l.Claims {
			if c.Error != "" || !c.OK {
				t.Errorf("again: %s", unexpected(c))
			}
		}
	}
}

func unexpected(c result.Claim) string {
	return fmt.Sprintf("%s: %s, expected %s: %v %s\n%s", c.ID, c.Verdict, c.Expected, c.Reason, c.Error, shown(c))
}

func shown(c result.Claim) string {
	var b strings.Builder
	for _, v := range c.Shown() {
		b.WriteString("  " + v.Name + " = " + v.Text() + "\n")
	}
	return b.String()
}

// TestSabotage breaks a runtime class and wants exactly the claims that rest
// on it to turn.
func TestSabotage(t *testing.T) {
	_, client := shared(t)
	tests := []struct {
		name, class, handler string
		claims               []string // verified
		turn                 []string // those that must not be as expected
	}{
		{
			name: "gvisor is plain runc", class: "gvisor", handler: "runc",
			claims: []string{"29-5", "29-6", "29-24", "29-99", "29-100", "29-101", "29-123", "29-124"},
			turn:   []string{"29-6", "29-24", "29-99", "29-100", "29-101", "29-123", "29-124"},
		},
		{
			name: "wasmedge is plain runc", class: "wasmedge", handler: "runc",
			claims: []string{"29-5", "29-107", "29-100"},
			turn:   []string{"29-107"},
		},
		{
			name: "runc is gvisor", class: "runc", handler: "gvisor",
			claims: []string{"29-5", "29-93", "29-100"},
			turn:   []string{"29-5", "29-93"}, // gVisor has a user namespace of its own
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			swap(t, client.NodeV1().RuntimeClasses(), tt.class, tt.handler)
			args := []string{"--all"}
			for _, c := range tt.claims {
				args = append(args, "--claim", c)
			}
			got, r := verify(t, args...)
			if r.code != 1 {
				t.Errorf("exit code %d, want 1", r.code)
			}
			for _, l := range got.Labs {
				for _, c := range l.Claims {
					if want := !slices.Contains(tt.turn, c.ID); c.OK != want {
						t.Errorf("%s: ok %v, want %v: %s, expected %s %s\n%s", c.ID, c.OK, want, c.Verdict, c.Expected, c.Error, shown(c))
					}
				}
			}
		})
	}
}

type runtimeClasses interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*nodev1.RuntimeClass, error)
	Create(ctx context.Context, c *nodev1.RuntimeClass, o metav1.CreateOptions) (*nodev1.RuntimeClass, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// swap replaces a class by one with another handler (a handler can't be
// changed) until the test ends.
func swap(t *testing.T, classes runtimeClasses, name, handler string) {
	t.Helper()
	old, err := classes.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	replace := func(handler string) {
		t.Helper()
		// t.Context() has ended when cleanup runs.
		if err := classes.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c := &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: old.Labels, Annotations: old.Annotations}, Handler: handler, Overhead: old.Overhead, Scheduling: old.Scheduling}
		if _, err := classes.Create(context.Background(), c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	replace(handler)
	t.Cleanup(func() { replace(old.Handler) })
}
