//go:build e2e

package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/labs"
	"github.com/isolation-stack/labctl/manifests"
)

// policyClaims are those of all labs that rest on a NetworkPolicy being
// enforced.
var policyClaims = []string{"01-29", "12-19", "12-39", "12-40", "12-40.together", "12-43", "12-46"}

// TestNetworkLabWithoutPolicyEngine leaves the add-on out: the claims that
// rest on it turn, and no others.
func TestNetworkLabWithoutPolicyEngine(t *testing.T) {
	shared(t)
	others := []string{"12-7", "12-12", "12-22.standard", "12-31", "12-47", "12-61", "12-62"}
	turn(t, slices.Concat([]string{"--all", "--without", "network-policy"}, only(policyClaims, others)), policyClaims)
}

// TestNetworkLabSabotage changes a manifest of the network's labs and wants
// exactly the claims that rest on it to turn.
func TestNetworkLabSabotage(t *testing.T) {
	shared(t)
	services := []string{"12-1", "12-2", "12-12", "12-13", "12-14", "12-23", "12-24", "12-31"}
	names := []string{"12-16", "12-25", "12-42"}
	for _, tt := range []struct {
		name, file, old, new string
		claims, turn         []string
	}{
		{
			name: "the Service selects nothing", file: "service.yaml", old: "selector: {app: web}", new: "selector: {app: wep}",
			claims: services, turn: []string{"12-1", "12-13", "12-14"},
		},
		{
			name: "the readiness probe asks for something else", file: "web.yaml", old: "/readyz", new: "/livez",
			claims: services, turn: []string{"12-14"},
		},
		{
			name: "no session affinity", file: "session-affinity.yaml", old: `
  sessionAffinity: ClientIP
  sessionAffinityConfig:
    clientIP: {timeoutSeconds: 10800}`, new: "",
			claims: services, turn: []string{"12-13"},
		},
		{
			name: "a port without a name", file: "service.yaml", old: "name: http, ", new: "",
			claims: services, turn: []string{"12-24"},
		},
		{
			name: "answers of 5 s", file: "coredns.yaml", old: "ttl 30", new: "ttl 5",
			claims: names, turn: []string{"12-25"},
		},
		{
			name: "no cache", file: "coredns.yaml", old: "cache 30", new: "",
			claims: names, turn: []string{"12-25"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // scenarios mostly wait, each in namespaces of its own
			dir := changed(t, "network-stack/"+tt.file, tt.old, tt.new)
			turn(t, slices.Concat([]string{"network-stack", "--catalogue", dir}, only(tt.claims)), tt.turn)
		})
	}
}

// only are the flags that choose claims.
func only(claims ...[]string) (flags []string) {
	for _, id := range slices.Concat(claims...) {
		flags = append(flags, "--claim", id)
	}
	return flags
}

// turn verifies, and wants the claims named not to be as expected, and all
// others to be.
func turn(t *testing.T, args, turned []string) {
	t.Helper()
	got, r := verify(t, args...)
	if r.code != 1 {
		t.Errorf("exit code %d, want 1\n%s", r.code, r.stderr)
	}
	seen := 0
	for _, l := range got.Labs {
		for _, c := range l.Claims {
			seen++
			if want := !slices.Contains(turned, c.ID); c.OK != want {
				t.Errorf("%s: ok %v, want %v: %s, expected %s %s\n%s", c.ID, c.OK, want, c.Verdict, c.Expected, c.Error, shown(c))
			}
			if c.Error != "" {
				t.Errorf("%s: a probe broke, where a verdict should turn: %s", c.ID, c.Error)
			}
		}
	}
	if seen < len(turned) {
		t.Errorf("%d claims, want at least %d", seen, len(turned))
	}
}

// changed is a catalogue of one's own, with one manifest changed.
func changed(t *testing.T, manifest, before, after string) string {
	t.Helper()
	dir := t.TempDir()
	for name, tree := range map[string]fs.FS{"labs": labs.FS, "manifests": manifests.FS} {
		if err := os.CopyFS(filepath.Join(dir, name), tree); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "manifests", manifest)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), before) {
		t.Fatalf("%s has no %q", manifest, before)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), before, after)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
