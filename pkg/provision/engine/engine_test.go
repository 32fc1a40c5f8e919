package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
)

// fake puts a shell script in place of an engine on PATH; the tests here are
// about what Choose makes of an engine's answers. Real engines are tried by
// the end-to-end tests.
func fake(t *testing.T, dir, name, script string) {
	t.Helper()
	// cat swallows the image: an engine that doesn't read it breaks the pipe.
	body := "#!/bin/sh\nif [ \"$1\" = load ]; then cat >/dev/null; fi\n" + script
	if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
}

const works = `case "$1" in --version) echo "engine version 1.2.3";; run) exit 42;; esac`

func TestChoose(t *testing.T) {
	says := func(code int, text string) string {
		return fmt.Sprintf("case \"$1\" in --version) echo engine version 1;; rmi) ;; *) echo '%s' >&2; exit %d;; esac", text, code)
	}
	for _, c := range []struct {
		name    string
		engines map[string]string
		asked   string
		want    string   // engine chosen
		errors  []string // or what the error says
	}{
		{name: "the only one", engines: map[string]string{Podman: works}, want: Podman},
		{name: "docker before podman", engines: map[string]string{Podman: works, Docker: works}, want: Docker},
		{name: "the one asked for", engines: map[string]string{Podman: works, Docker: works}, asked: Podman, want: Podman},
		{name: "the second where the first falls", want: Podman,
			engines: map[string]string{Docker: says(1, "Cannot connect to the Docker daemon"), Podman: works}},
		{name: "podman under docker's name", want: Podman,
			engines: map[string]string{Docker: `echo "podman version 4.3.1"`, Podman: works}},
		{name: "none", errors: []string{
			"docker: not installed", "podman: not installed", "nerdctl: not installed", "labctl doctor --fix"}},
		{name: "unknown name", asked: "lxc", errors: []string{`unknown container engine "lxc"; known: docker, podman, nerdctl`}},
		{name: "asked for and missing", asked: Docker, engines: map[string]string{Podman: works},
			errors: []string{"docker: not installed", "without --engine"}},
		{name: "each with its reason and remedy",
			engines: map[string]string{
				Docker:  says(1, "permission denied while trying to connect to /var/run/docker.sock"),
				Podman:  says(126, "OCI permission denied: error setting rlimit type 7: operation not permitted"),
				Nerdctl: says(1, "write /var/lib/containerd/x: no space left on device"),
			},
			errors: []string{"docker.sock", "group docker", "rlimit type 7", "default_ulimits", "no space left", "free some space"}},
		{name: "daemon dies midway", asked: Docker,
			engines: map[string]string{Docker: `case "$1" in --version) echo v1;; run) echo "error during connect: EOF" >&2; kill -9 $$;; esac`},
			errors:  []string{"docker run", "signal: killed", "error during connect: EOF"}},
		{name: "says that it ran and did nothing", asked: Docker,
			engines: map[string]string{Docker: "exit 0"}, errors: []string{"its program did not"}},
		{name: "the program can't run", asked: Docker,
			engines: map[string]string{Docker: `case "$1" in run) echo "exec format error" >&2; exit 126;; esac`},
			errors:  []string{"exec format error"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin := t.TempDir()
			for name, script := range c.engines {
				fake(t, bin, name, script)
			}
			t.Setenv("PATH", bin+":/bin:/usr/bin-without-engines")
			if _, err := os.Stat("/bin/podman"); err == nil {
				// Where /bin is /usr/bin: only what the scripts need.
				for _, tool := range []string{"cat", "sh"} {
					if err := os.Symlink("/bin/"+tool, filepath.Join(bin, tool)); err != nil {
						t.Fatal(err)
					}
				}
				t.Setenv("PATH", bin)
			}
			e, err := Choose(context.Background(), Options{Name: c.asked, StateDir: t.TempDir()}, progress.Discard)
			if c.want != "" {
				if err != nil {
					t.Fatal(err)
				}
				if e.Name != c.want {
					t.Fatalf("chose %s, want %s", e.Name, c.want)
				}
				return
			}
			if err == nil {
				t.Fatalf("chose %s, want an error", e.Name)
			}
			for _, part := range c.errors {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error lacks %q:\n%v", part, err)
				}
			}
		})
	}
}

func TestChooseWithoutRights(t *testing.T) {
	bin, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	fake(t, bin, Docker, works)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Choose(context.Background(), Options{Name: Docker, StateDir: filepath.Join(file, "state")}, progress.Discard)
	if err == nil || !strings.Contains(err.Error(), "labctl's state folder") {
		t.Fatalf("error is %v", err)
	}
}

func TestChooseInterrupted(t *testing.T) {
	bin := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fake(t, bin, Docker, works)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	_, err := Choose(ctx, Options{Name: Docker, StateDir: t.TempDir()}, progress.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
}
