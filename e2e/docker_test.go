//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// dockerName is the Docker of these tests; no cluster belongs to it.
var dockerName = sharedName + "-docker"

// TestDocker brings labctl's Docker up, verifies its lab as it is and
// sabotaged, and sees that down leaves nothing.
func TestDocker(t *testing.T) {
	e := chooseEngine(t)
	container := "labctl-docker-" + dockerName
	there := func() bool { return ask(t, e, "ps", "-a", "-q", "--filter", "name="+container) != "" }
	t.Cleanup(func() {
		// t.Context() has ended when cleanup runs.
		if r := labctl(context.Background(), "down", "--name", dockerName); r.code != 0 {
			t.Errorf("down: exit code %d\n%s", r.code, r.stderr)
		}
	})

	inDocker(t, "touch /run/mark")
	inDocker(t, "test -e /run/mark") // the second one is the same container
	if r := must(t, "docker", "--name", dockerName, "run", "--rm", "labctl/shell", "echo", "hello"); r.stdout != "hello\n" {
		t.Errorf("labctl docker run says %q", r.stdout)
	}
	if r := labctl(t.Context(), "docker", "--name", dockerName, "run", "--rm", "labctl/shell", "sh", "-c", "exit 7"); r.code != 7 {
		t.Errorf("exit code %d, want the program's, 7", r.code)
	}

	claims := verifyDocker(t, "docker")
	for id, c := range claims {
		if c.Error != "" || !c.OK || c.Verdict == lab.Untestable {
			t.Errorf("%s: %s, expected %s: %v %s\n%s", id, c.Verdict, c.Expected, c.Reason, c.Error, shown(c))
		}
	}
	t.Run("sabotage", testDockerSabotage)

	// A daemon that died comes back; a Docker that was brought up to stay
	// outlives a run.
	inDocker(t, "kill -KILL $(cat /run/dockerd.labctl)")
	inDocker(t, "docker version && test -e /run/mark")

	volumes := strings.Fields(ask(t, e, "inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", container))
	if len(volumes) == 0 {
		t.Error("the container has no volume")
	}
	must(t, "down", "--name", dockerName)
	must(t, "down", "--name", dockerName)
	if there() {
		t.Error("down left the container")
	}
	for _, v := range strings.Fields(ask(t, e, "volume", "ls", "--quiet")) {
		if slices.Contains(volumes, v) {
			t.Errorf("down left the volume %s", v)
		}
	}
	// Without one that stays, a run removes what it brought up.
	if c := verifyDocker(t, "docker", "--claim", "00-11")["00-11"]; c.Verdict != lab.Confirmed {
		t.Errorf("00-11 is %s %s", c.Verdict, c.Error)
	}
	if there() {
		t.Error("the run left its container")
	}
}

func testDockerSabotage(t *testing.T) {
	for _, c := range []struct {
		name, sabotage, mend string
		manifest             [2]string // what is replaced in hardened.yaml
		turn, stay           []string
	}{
		{
			name:     "live-restore is the default",
			sabotage: "sed -i.old 's/--shutdown-timeout 2/--live-restore &/' /usr/local/sbin/docker-daemon", mend: "mv /usr/local/sbin/docker-daemon.old /usr/local/sbin/docker-daemon",
			turn: []string{"00-7"}, stay: []string{"00-7.live-restore", "00-7.crash"},
		},
		{
			name:     "no NAT",
			sabotage: "iptables -t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", mend: "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
			turn: []string{"00-10"}, stay: []string{"00-11"},
		},
		{
			name:     "crun is runc",
			sabotage: "mv /usr/bin/crun /usr/bin/crun.old && ln -s runc /usr/bin/crun", mend: "mv -f /usr/bin/crun.old /usr/bin/crun",
			turn: []string{"00-3"}, stay: []string{"00-2"},
		},
		{
			name: "a service that may write", manifest: [2]string{"read_only: true", "read_only: false"},
			turn: []string{"00-16"}, stay: []string{"00-17", "00-18"},
		},
		{
			name: "a service that may gain privileges", manifest: [2]string{"no-new-privileges:true", "no-new-privileges:false"},
			turn: []string{"00-17"}, stay: []string{"00-16", "00-18"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := []string{"docker"}
			if c.sabotage != "" {
				inDocker(t, c.sabotage)
				defer inDocker(t, c.mend)
			}
			if c.manifest[0] != "" {
				args = append(args, "--catalogue", sabotagedCatalogue(t, c.manifest[0], c.manifest[1]))
			}
			for _, id := range slices.Concat(c.turn, c.stay) {
				args = append(args, "--claim", id)
			}
			for id, got := range verifyDocker(t, args...) {
				if want := !slices.Contains(c.turn, id); got.OK != want || got.Error != "" {
					t.Errorf("%s: ok %v, want %v: %s, expected %s %s\n%s", id, got.OK, want, got.Verdict, got.Expected, got.Error, shown(got))
				}
			}
		})
	}
}

// sabotagedCatalogue is a catalogue with the lab of Docker alone, whose
// hardened.yaml has is in place of was.
func sabotagedCatalogue(t *testing.T, was, is string) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"labs/docker", "manifests/docker"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join("..", folder))); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "manifests/docker/hardened.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(was)) {
		t.Fatalf("%s has no %q", file, was)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(b, []byte(was), []byte(is)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inDocker runs a script beside dockerd, where it must succeed.
func inDocker(t *testing.T, script string) {
	t.Helper()
	cmd := command(t.Context(), "docker", "--name", dockerName)
	cmd.Stdin = strings.NewReader("set -e\n" + script + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// verifyDocker gives the claims of one lab by their ids.
func verifyDocker(t *testing.T, args ...string) map[string]result.Claim {
	t.Helper()
	r := labctl(t.Context(), append([]string{"verify", "--name", dockerName, "-o", "json"}, args...)...)
	got, err := result.Read([]byte(r.stdout))
	if err != nil {
		t.Fatalf("verify %q: exit code %d: %v\n%s", args, r.code, err, r.stderr)
	}
	claims := map[string]result.Claim{}
	for _, l := range got.Labs {
		for _, c := range l.Claims {
			claims[c.ID] = c
		}
	}
	return claims
}
