//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// brokenLab has one mistake of each kind that a person makes.
const brokenLab = `apiVersion: labctl.dev/v1alpha1
kind: Lab
metadata:
  name: broken
spec:
  document: docs/x.md
  title: {en: X, zh: X}
  layer: L-3
  claims:
    - id: "1"
      statement: {en: X, zh: X}
      source: {heading: X, line: one, sha256: 0000000000000000000000000000000000000000000000000000000000000000}
      layer: L-9
      probes:
        - as: a
          kind: node
          with: {labprobe: [identity]}
        - as: b
          kind: nodes
          with: {labprobe: [identity]}
      decide: a.kernel.relase == "6"
      colour: red
      expect: refuted
`

// TestRefusals runs labctl where it must refuse, and wants the exit code and
// a message that says what to do.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "labs", "broken", "lab.yaml"), brokenLab)
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Engines that are on PATH and don't work, each in its own way.
	engines := filepath.Join(dir, "engines")
	write(t, filepath.Join(engines, "docker"), "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
	write(t, filepath.Join(engines, "podman"), "#!/bin/sh\nkill -9 $$\n")
	write(t, filepath.Join(engines, "nerdctl"), "#!/bin/sh\necho 'rootless containerd not running' >&2\nexit 1\n")
	readOnly := filepath.Join(dir, "file")
	write(t, readOnly, "not a folder")

	tests := []struct {
		name string
		args []string
		env  []string
		code int
		say  []string // in stdout or stderr
	}{
		{"no such command", []string{"uo"}, nil, 2, []string{"uo"}},
		{"no such flag", []string{"up", "--worker", "1"}, nil, 2, []string{"--worker"}},
		{"negative workers", []string{"up", "--workers", "-1"}, nil, 2, []string{"can't be negative"}},
		{"unknown runtime", []string{"up", "--runtime-class", "kata=x"}, nil, 2, []string{"kata", "runc, gvisor, wasmedge"}},
		{"one class for two runtimes", []string{"up", "--runtime-class", "gvisor=runc"}, nil, 2, []string{"two runtimes one name"}},
		{"bad cluster name", []string{"up", "--name", "No_Name"}, nil, 3, []string{"No_Name"}},
		{"unknown lab", []string{"verify", "isolation-stak"}, nil, 2, []string{"isolation-stack"}},
		{"no lab", []string{"verify"}, nil, 2, []string{"name a lab, or --all"}},
		{"unknown claim", []string{"verify", "--all", "--claim", "29-999"}, nil, 2, []string{"29-999"}},
		{"unknown layer", []string{"verify", "--all", "--layer", "L-7"}, nil, 2, []string{"L-7", "L-"}},
		{"unknown format", []string{"list", "-o", "xml"}, nil, 2, []string{"table, json or yaml"}},
		{"no cluster", []string{"verify", "--name", "labctl-none", "l-3-containerization"}, nil, 3, []string{"labctl up --name labctl-none"}},
		{"every mistake of a spec, with its place", []string{"lint", "--catalogue", dir}, nil, 2, []string{
			"broken/lab.yaml:12:", "line", // wrong type
			"broken/lab.yaml:13:", "L-9", // unknown layer
			"broken/lab.yaml:22:", "colour", // unknown field
		}},
		{"no engine works", []string{"up"}, []string{"PATH=" + engines}, 4, []string{"docker", "Cannot connect", "podman", "killed", "nerdctl", "rootless"}},
		{"state folder can't be made", []string{"up"}, []string{"XDG_STATE_HOME=" + readOnly}, 2, []string{"XDG_STATE_HOME"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			cmd := command(t.Context(), tt.args...)
			cmd.Env = append(cmd.Env, tt.env...)
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			for _, s := range tt.say {
				if !strings.Contains(out.String(), s) {
					t.Errorf("says nothing of %q", s)
				}
			}
			if t.Failed() {
				t.Logf("output:\n%s", out.String())
			}
		})
	}
}

// TestStreams wants data on stdout and status on stderr.
func TestStreams(t *testing.T) {
	for _, args := range [][]string{{"list"}, {"list", "-o", "json"}, {"show", "isolation-stack", "--lang", "zh"}, {"version"}, {"completion", "bash"}, {"verify", "--help"}} {
		r := labctl(context.Background(), args...)
		if r.code != 0 || r.stdout == "" || r.stderr != "" {
			t.Errorf("labctl %q: exit code %d, %d bytes of stdout, stderr %q", args, r.code, len(r.stdout), r.stderr)
		}
	}
}

// TestCatalogueIsClean lints what labctl carries; with the documents at hand
// the claims' sources too.
func TestCatalogueIsClean(t *testing.T) {
	must(t, "lint")
	docs := os.Getenv("LABCTL_DOCS")
	if docs == "" {
		docs = filepath.Join("..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(docs); err != nil {
		t.Skipf("no documents at %s (LABCTL_DOCS): the sources of the claims were not checked", docs)
	}
	must(t, "lint", "--docs", docs)
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
