package runtimes

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

const upstreamService = `package shim

func start() error {
	if err := shim.SetScore(cmd.Process.Pid); err != nil {
		return err
	}
}
`

func TestPatchShim(t *testing.T) {
	src := sourceTree(t, upstreamService)
	if err := patchShim(src); err != nil {
		t.Fatal(err)
	}
	patched, err := os.ReadFile(filepath.Join(src, "pkg/shim/service.go"))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(upstreamService, "shim.SetScore(", "setScore(", 1); string(patched) != want {
		t.Errorf("got %s", patched)
	}
	added, err := os.ReadFile(filepath.Join(src, "pkg/shim/labctl_oom_score.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(added), "package shim\n") {
		t.Errorf("the added file would not be built: it begins %.40q", added)
	}
}

func TestPatchShimOnOtherSource(t *testing.T) {
	for name, text := range map[string]string{
		"gone":  "package shim\n",
		"twice": upstreamService + upstreamService,
	} {
		t.Run(name, func(t *testing.T) {
			err := patchShim(sourceTree(t, text))
			if err == nil || !strings.Contains(err.Error(), "not once") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func sourceTree(t *testing.T, service string) string {
	t.Helper()
	src := t.TempDir()
	for _, dir := range []string{"pkg/shim/runsc", "pkg/sentry/loader/vdsodata"} {
		if err := os.MkdirAll(filepath.Join(src, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(src, "pkg/shim/service.go"), service)
	write(t, filepath.Join(src, "pkg/shim/runsc/service.go"), "\tupdated = setPodCgroup(spec) || updated\n")
	write(t, filepath.Join(src, "pkg/sentry/loader/vdso.go"), "var vdsoSigreturnOffset = func() uint64 {\n\tparse()\n}()\n")
	return src
}

func TestShimFromRelease(t *testing.T) {
	good := func(t *testing.T) string {
		dir := t.TempDir()
		for _, name := range []string{runscProgram, shimProgram} {
			sum := sha512.Sum512([]byte("program " + name))
			write(t, filepath.Join(dir, name), "program "+name)
			write(t, filepath.Join(dir, name+".sha512"), hex.EncodeToString(sum[:])+"  "+name+"\n")
		}
		return dir
	}
	cases := map[string]struct {
		damage func(t *testing.T, dir string)
		want   string
	}{
		"whole":           {func(*testing.T, string) {}, ""},
		"a changed shim":  {func(t *testing.T, dir string) { write(t, filepath.Join(dir, shimProgram), "other") }, "does not match its checksum"},
		"no checksum":     {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "runsc.sha512")) }, "runsc.sha512: no such file"},
		"no runsc":        {func(t *testing.T, dir string) { _ = os.Remove(filepath.Join(dir, "runsc")) }, "runsc: no such file"},
		"checksum a page": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "runsc.sha512"), "<html>") }, "holds no SHA-512 checksum"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := good(t)
			c.damage(t, dir)
			got, err := Shim(context.Background(), artifact.Cache{Dir: t.TempDir()}, nil, ShimOptions{GVisorDir: dir}, progress.Discard)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want it to say %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			files, err := Files(got)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"/usr/local/bin/runsc", "/usr/local/bin/containerd-shim-runsc-v1"} {
				if !slices.ContainsFunc(files, func(f File) bool {
					return f.Path == path && f.Mode == 0o755 && string(f.Content) == "program "+filepath.Base(path)
				}) {
					t.Errorf("%s is missing or wrong", path)
				}
			}
		})
	}
}

type fakeSources []string

func (s fakeSources) Source(_ context.Context, dir, _ string) ([]string, error) {
	var paths []string
	for _, name := range s {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths, nil
}

func TestShimOtherVersion(t *testing.T) {
	_, err := Shim(context.Background(), artifact.Cache{Dir: t.TempDir()},
		fakeSources{"golang-gvisor-gvisor_0.0~20250101.0.orig.tar.gz"}, ShimOptions{}, progress.Discard)
	if err == nil || !strings.Contains(err.Error(), "--gvisor") {
		t.Errorf("got %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
