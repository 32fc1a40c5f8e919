package gomodule

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// Program is a Go module below images/ and how it is built.
type Program struct {
	// Module is the folder below images/.
	Module string
	// Packages is what to build, as for go build: "tool" are the module's tools.
	Packages string
	// Ldflags are the linker's flags beside -s -w, Tags the build tags.
	Ldflags []string
	Tags    string
	// Links are other names of the binary that is called as the module.
	Links []string
	// Edits change files of required modules for this build.
	Edits []Edit
	// Title is for people.
	Title string
}

// Edit replaces a text, which must be there exactly once, in a file of a
// module that the program's go.mod requires: for a component that needs to
// know of a host what its release doesn't.
type Edit struct{ Requires, File, Old, New string }

// Builder builds programs.
type Builder struct {
	Cache   artifact.Cache
	Sources Sources
	Log     progress.Log
}

// Part is one artifact that a Builder makes.
type Part struct {
	// Title is for people.
	Title string
	// Key is the artifact's.
	Key artifact.Key
	// Make returns the artifact's folder; what the cache doesn't have is made.
	Make func(ctx context.Context) (dir string, err error)
}

// Part is the program as an artifact.
func (b Builder) Part(p Program) Part {
	return Part{Title: p.Title, Key: b.key(p), Make: func(ctx context.Context) (string, error) { return b.Build(ctx, p) }}
}

// flags are those of go build.
func (p Program) flags() []string {
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-tags=" + p.Tags,
		"-ldflags=" + strings.Join(append([]string{"-s", "-w"}, p.Ldflags...), " ")}
}

func (b Builder) key(p Program) artifact.Key {
	key := artifact.Key{Name: "go-" + p.Module, Inputs: append(p.flags(), environment()...)}
	for _, f := range b.Sources.Below(p.Module) {
		key.Inputs = append(key.Inputs, f.Name, string(f.Content))
	}
	key.Inputs = append(key.Inputs, p.Links...)
	for _, e := range p.Edits {
		key.Inputs = append(key.Inputs, e.Requires, e.File, e.Old, e.New)
	}
	return key
}

// Build returns the folder of the program's binaries. The module's go.sum
// verifies all that is downloaded; Go's own build cache keeps what an
// interrupted build has compiled.
func (b Builder) Build(ctx context.Context, p Program) (dir string, err error) {
	flags, env, key := p.flags(), environment(), b.key(p)
	if b.Cache.Has(key) {
		return b.Cache.Path(key), nil
	}
	step := b.Log.Start("Building " + p.Title)
	defer func() { step.End(err) }()
	if err := needsGo(p.Title); err != nil {
		return "", err
	}
	return b.Cache.Ensure(ctx, key, func(ctx context.Context, dir string) error {
		src := filepath.Join(dir, "src")
		if err := b.Sources.Unpack(p.Module, src); err != nil {
			return err
		}
		step.Update(0, 0, "downloading modules")
		list, err := process.Run(ctx, process.Command{
			Argv: []string{"go", "list", "-mod=readonly", "-tags=" + p.Tags, "-deps", p.Packages},
			Dir:  src, Env: env,
		})
		if err != nil {
			return downloading(err)
		}
		overlay, err := edit(ctx, src, p.Edits)
		if err != nil {
			return err
		}
		counter := &packageCounter{step: step, total: bytes.Count(list.Stdout, []byte("\n"))}
		argv := append([]string{"go", "build", "-v", "-o", dir + "/"}, flags...)
		argv = append(argv, overlay...)
		if _, err := process.Run(ctx, process.Command{
			Argv: append(argv, p.Packages), Dir: src, Env: append(env, Compiler()...), Log: io.MultiWriter(b.Log.Output(), counter),
		}); err != nil {
			return err
		}
		for _, l := range p.Links {
			if err := os.Symlink(p.Module, filepath.Join(dir, l)); err != nil {
				return err
			}
		}
		return os.RemoveAll(src)
	})
}

// environment makes static programs for Linux, whatever the user's own
// settings of Go say.
func environment() []string {
	return []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + runtime.GOARCH, "GOWORK=off", "GOFLAGS="}
}

func needsGo(title string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("%s is built from Go modules, and there is no go on PATH: %w", title, err)
	}
	return nil
}

// packageCounter counts the packages that go build -v names as it compiles.
type packageCounter struct {
	step        progress.Step
	done, total int
}

func (c *packageCounter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "+ ") || strings.Contains(line, " ") {
			continue
		}
		c.done++
		c.step.Update(min(c.done, c.total), c.total, line)
	}
	return len(p), nil
}
