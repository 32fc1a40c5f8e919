package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// The engine is a shell script that keeps its one container as a file, and
// notes what it was told; real ones are for the end-to-end tests.
const engineScript = `#!/bin/sh
state=%[1]s
echo "$*" >>"$state/said"
case "$1 $2" in
"--version "*|"--version") echo "podman version 4.3.1"; exit;;
"run --rm") exit 42;;
"run --detach") [ ! -e "$state/refuse" ] || { echo "crun: no privileges" >&2; exit 126; }
  while [ $# -gt 1 ]; do case "$2" in dev.labctl.docker.image=*) echo "${2#*=}" >"$state/container";; esac; shift; done; exit;;
"inspect --type")
  [ -e "$state/container" ] || { echo "Error: no such object: x" >&2; exit 125; }
  printf '[{"State":{"Running":%%s},"Config":{"Labels":{"dev.labctl.docker":"%%s","dev.labctl.docker.image":"%%s"}}}]' "$(cat "$state/running" 2>/dev/null || echo true)" "$(cat "$state/owner" 2>/dev/null || echo lab)" "$(cat "$state/container")"
  exit;;
"rm --force") rm -f "$state/container" "$state/kept" "$state/broken"; exit;;
"images "*) echo sha256:1; exit;;
esac
case "$1" in
load) cat >/dev/null;;
exec)
  mark=${3#*=}
  code=0
  case "$*" in
  *"docker-node start && touch"*) touch "$state/kept";;
  *" docker-node start"*) [ ! -e "$state/broken" ] || code=1;;
  *"test -e /run/labctl-kept"*) [ -e "$state/kept" ] || code=1;;
  esac
  printf '\n%%s %%d\n' "$mark" $code >&2;;
esac
`

type world struct {
	dir    string
	engine *engine.Engine
	opts   Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, engine.Podman), fmt.Appendf(nil, engineScript, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e, err := engine.Choose(t.Context(), engine.Options{Name: engine.Podman, StateDir: t.TempDir()}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &world{dir: dir, engine: e, opts: Options{
		Name: "lab", Cache: artifact.Cache{Dir: t.TempDir()}, Suite: "trixie", Packages: []string{"docker.io"},
		Apt:        func(context.Context) (Apt, error) { return nil, errors.New("no apt in this test") },
		ProbeImage: strings.NewReader("an archive"), Loaded: "localhost/labctl/labprobe:1", Probe: "labctl/labprobe", Shell: "labctl/shell",
	}}
}

func (w *world) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *world) keep(t *testing.T) {
	t.Helper()
	d, err := Find(t.Context(), w.engine, "lab")
	if err == nil {
		err = d.Keep(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// runs counts the containers that were started.
func (w *world) runs(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, "said"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "run --detach")
}

func TestUp(t *testing.T) {
	for _, c := range []struct {
		name  string
		there func(*testing.T, *world) // what is there before the second Up
		runs  int                      // containers started by both
		kept  bool
		error string
	}{
		{name: "a second one finds it", runs: 1},
		{name: "kept", there: func(t *testing.T, w *world) { w.keep(t) }, runs: 1, kept: true},
		{name: "stopped", there: func(t *testing.T, w *world) { w.put(t, "running", "false") }, runs: 2},
		{name: "another image", there: func(t *testing.T, w *world) { w.put(t, "container", "localhost/labctl/docker:old") }, runs: 2},
		{name: "daemons that don't come up", there: func(t *testing.T, w *world) { w.put(t, "broken", "") }, runs: 2},
		{name: "somebody else's", there: func(t *testing.T, w *world) { w.put(t, "owner", "") }, runs: 1, error: "that labctl didn't make"},
		{name: "refused", there: func(t *testing.T, w *world) {
			w.put(t, "running", "false")
			w.put(t, "refuse", "")
		}, runs: 2, error: "no privileges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if _, err := Up(t.Context(), w.engine, w.opts, progress.Discard); err != nil {
				t.Fatal(err)
			}
			if c.there != nil {
				c.there(t, w)
			}
			d, err := Up(t.Context(), w.engine, w.opts, progress.Discard)
			switch {
			case c.error != "" && (err == nil || !strings.Contains(err.Error(), c.error)):
				t.Errorf("error %v, want %q", err, c.error)
			case c.error == "" && err != nil:
				t.Error(err)
			}
			if err == nil {
				if kept, err := d.IsKept(t.Context()); err != nil || kept != c.kept {
					t.Errorf("kept %v %v", kept, err)
				}
			}
			if got := w.runs(t); got != c.runs {
				t.Errorf("%d containers were started, want %d", got, c.runs)
			}
		})
	}
}

func TestDown(t *testing.T) {
	w, state := newWorld(t), t.TempDir()
	known := func(want bool) {
		t.Helper()
		if got, err := Known(state, "lab"); err != nil || got != want {
			t.Errorf("known %v %v, want %v", got, err, want)
		}
	}
	known(false)
	for _, there := range []bool{true, false} {
		if there {
			if _, err := Up(t.Context(), w.engine, w.opts, progress.Discard); err != nil {
				t.Fatal(err)
			}
		}
		unlock, err := Lock(t.Context(), state, "lab")
		if err != nil {
			t.Fatal(err)
		}
		known(true)
		if err := Down(t.Context(), w.engine, state, "lab", progress.Discard); err != nil {
			t.Errorf("there %v: %v", there, err)
		}
		unlock()
		known(false)
		if _, err := os.Stat(filepath.Join(w.dir, "container")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the container is there: %v", err)
		}
	}
	w.put(t, "container", "x")
	w.put(t, "owner", "")
	if err := Down(t.Context(), w.engine, state, "lab", progress.Discard); err == nil || !strings.Contains(err.Error(), "didn't make") {
		t.Errorf("somebody else's container: %v", err)
	}
}

func TestReference(t *testing.T) {
	layer, err := filesLayer()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Suite: "trixie", Packages: []string{"docker.io"}}
	first, err := o.reference(layer)
	if err != nil {
		t.Fatal(err)
	}
	again, err := filesLayer()
	if err != nil {
		t.Fatal(err)
	}
	if same, err := o.reference(again); err != nil || same != first {
		t.Errorf("%s, then %s %v", first, same, err)
	}
	o.Packages = append(o.Packages, "crun")
	if other, err := o.reference(layer); err != nil || other == first {
		t.Errorf("another package gives the same image %s %v", other, err)
	}
}

func TestRunArgs(t *testing.T) {
	for name, private := range map[string]bool{engine.Docker: true, engine.Podman: true, engine.Nerdctl: false} {
		line := strings.Join(runArgs(name, "lab", "ref"), " ")
		if strings.Contains(line, "--cgroupns private") != private {
			t.Errorf("%s: %s", name, line)
		}
		for _, want := range []string{"--network none", "--volume /var", "--name labctl-docker-lab", label + "=lab"} {
			if !strings.Contains(line, want) {
				t.Errorf("%s: no %s in %s", name, want, line)
			}
		}
	}
}

func TestUnavailable(t *testing.T) {
	_, err := Unavailable(errors.New("no engine")).Run(t.Context(), io.Reader(nil), "true")
	var untestable *evidence.Untestable
	if !errors.As(err, &untestable) || !strings.Contains(untestable.Reason, "no engine") {
		t.Error(err)
	}
}
