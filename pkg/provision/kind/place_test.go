package kind

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPlaceRun(t *testing.T) {
	e := fakeEngine(t, "")
	for _, c := range []struct {
		name           string
		stdin          string
		argv           []string
		stdout, stderr string
		code           int
	}{
		{name: "output", argv: []string{"echo", "a b"}, stdout: "a b\n"},
		{name: "both streams", argv: []string{"sh", "-c", "printf out; printf err >&2"}, stdout: "out", stderr: "err"},
		{name: "stdin", stdin: "in\x00put", argv: []string{"cat"}, stdout: "in\x00put"},
		{name: "no stdin", argv: []string{"cat"}},
		{name: "a code that engines use themselves", argv: []string{"sh", "-c", "exit 125"}, code: 125},
		{name: "no such program", argv: []string{"no-such-program"}, stderr: "no-such-program", code: 127},
		{name: "killed", argv: []string{"sh", "-c", "kill -9 $$"}, code: 137, stderr: ""},
		{name: "quotes", argv: []string{"printf", "%s", `"'$(id)\`}, stdout: `"'$(id)\`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := place{e: e, node: "lab-control-plane"}
			var stdin *strings.Reader
			exit, err := p.Run(t.Context(), nil, c.argv...)
			if c.stdin != "" {
				stdin = strings.NewReader(c.stdin)
				exit, err = p.Run(t.Context(), stdin, c.argv...)
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(exit.Stdout) != c.stdout || !strings.Contains(string(exit.Stderr), c.stderr) || exit.Code != c.code {
				t.Errorf("%q %q %d", exit.Stdout, exit.Stderr, exit.Code)
			}
		})
	}
	if got := (place{node: "lab-worker"}).Name(); got != "node/lab-worker" {
		t.Error(got)
	}
}

func TestPlaceRunWhereTheEngineFails(t *testing.T) {
	for _, c := range []struct{ name, answer, want string }{
		{"no such container", `"exec "*) echo 'Error: no container with name or ID "lab" found' >&2; exit 125`, "no container with name"},
		{"Docker's own code for it", `"exec "*) echo 'Error response from daemon: container is not running' >&2; exit 1`, "is not running"},
		{"dies without a word", `"exec "*) kill -9 $$`, "signal: killed"},
		{"ends as if all were well", `"exec "*) exit 0`, "ended before the command did"},
		{"disk full", `"exec "*) echo 'write /var/lib: no space left on device' >&2; exit 126`, "free some space"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := fakeEngine(t, "")
			// The same engine gets worse after it was chosen.
			script := "#!/bin/sh\ncase \"$1 $2\" in " + c.answer + ";; esac\n"
			if err := os.WriteFile(e.Path, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := place{e: e, node: "lab"}.Run(t.Context(), nil, "true")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "node/lab") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestPlaceRunEndsWhatItStarted(t *testing.T) {
	p := place{e: fakeEngine(t, ""), node: "lab"}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	// A number that no other sleep on this machine has.
	nap := fmt.Sprint(100000 + os.Getpid())
	_, err := p.Run(ctx, nil, "sh", "-c", "setsid sleep "+nap+" & sleep "+nap)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error is %v", err)
	}
	exit, err := p.Run(t.Context(), nil, "sh", "-c", `for c in /proc/[0-9]*/cmdline; do tr '\0' ' ' <"$c" 2>/dev/null | grep -x "sleep $1 "; done; :`, "sh", nap)
	if err != nil {
		t.Fatal(err)
	}
	if len(exit.Stdout) > 0 {
		t.Errorf("still there: %s", exit.Stdout)
	}
}

func TestExplainNamesWhatToDo(t *testing.T) {
	for said, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock": "start the daemon",
		"permission denied while trying to connect to /var/run/docker.sock":  "group docker",
		"write /var/tmp/x: no space left on device":                          "free some space",
		"something nobody has seen":                                          "the container engine failed",
	} {
		if got := explain(failed(said)).Error(); !strings.Contains(got, want) || !strings.Contains(got, said) {
			t.Errorf("%s", got)
		}
	}
	if err := explain(context.Canceled); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "engine") {
		t.Errorf("%v", err)
	}
}
