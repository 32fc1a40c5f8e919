package kind

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
)

// fakeEngine is a shell script in the place of Podman: these tests are about
// what labctl makes of an engine's answers, of broken ones above all. The
// end-to-end tests use a real engine.
//
// The script's cases say what each command answers; exec runs its command on
// this machine.
func fakeEngine(t *testing.T, cases string) *engine.Engine {
	t.Helper()
	bin := t.TempDir()
	script := `#!/bin/sh
case "$1 $2" in
--version*) echo "podman version 4.3.1"; exit;;
"exec "*)
  shift
  while :; do case "$1" in -e) export "$2"; shift 2;; -i) shift;; *) break;; esac; done
  shift
  exec "$@";;
` + cases + `
esac
case "$1" in
load) cat >/dev/null;;
rmi) ;;
run) exit 42;;
ps|volume) ;;
esac
`
	if err := os.WriteFile(filepath.Join(bin, engine.Podman), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e, err := engine.Choose(t.Context(), engine.Options{Name: engine.Podman, StateDir: t.TempDir()}, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func failed(output string) error {
	return &process.Error{Argv: []string{"podman"}, Result: process.Result{Stderr: []byte(output)}, Err: os.ErrInvalid}
}
