package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

const (
	trialRepository = "localhost/labctl/trial"
	// trialCode is how the trial's program ends. An exit code is what engines
	// hand on most reliably: Podman loses the output of a container that lives
	// for a millisecond now and then. No engine uses this one itself.
	trialCode = 42
	// trialLimit is how long one call of the engine may take: a sleeping disk
	// is fine, a daemon that hangs is not.
	trialLimit = 90 * time.Second
)

// trial starts a privileged container with the flags that kind starts nodes
// with, on the engine's default network, from an image that needs no registry.
func (e *Engine) trial(ctx context.Context, stateDir string) (err error) {
	if e.Name == Docker {
		// Podman's emulation answers to the name docker; kind can't use it so.
		r, err := e.within(ctx, e.Command("--version"))
		if err != nil {
			return err
		}
		if strings.Contains(strings.ToLower(string(r.Stdout)), "podman") {
			return fmt.Errorf("%s is Podman in disguise (podman-docker); it counts as podman", e.Path)
		}
	}
	// One image for each state folder, so that a killed trial leaves nothing
	// that the next one wouldn't remove; hence one trial at a time in it.
	sum := sha256.Sum256([]byte(stateDir))
	image := trialRepository + ":" + hex.EncodeToString(sum[:6])
	archive, err := trialArchive(runtime.GOARCH, image)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return fmt.Errorf("labctl's state folder: %w", err)
	}
	unlock, err := filelock.Lock(ctx, filepath.Join(stateDir, "trial.lock"))
	if err != nil {
		return err
	}
	defer unlock()

	load := e.Command("load")
	load.Stdin = bytes.NewReader(archive)
	if _, err := e.within(ctx, load); err != nil {
		return err
	}
	defer func() {
		// Also after Ctrl-C, hence not with ctx.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_, rmErr := e.Run(clean, "rmi", image)
		err = errors.Join(err, rmErr)
	}()
	args := []string{"run", "--rm", "--privileged", "--tmpfs", "/tmp", "--tmpfs", "/run"}
	if e.Name != Nerdctl {
		args = append(args, "--cgroupns=private")
	}
	r, err := e.within(ctx, e.Command(append(args, image)...))
	switch {
	case r.Code == trialCode:
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s says that the trial container ran, but its program did not: exit code 0", e.Name)
}

// within runs the engine's program with a limit on its time.
func (e *Engine) within(ctx context.Context, c process.Command) (process.Result, error) {
	limited, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	r, err := process.Run(limited, c)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("no answer within %s: %w", trialLimit, err)
	}
	return r, err
}

// trialArchive is a docker-archive of the trial's image: one program that
// ends with trialCode, nothing else. Its name is in the content too: images that
// are one to the engine could not be removed under each other's containers.
func trialArchive(arch, image string) ([]byte, error) {
	program, err := exitProgram(arch, trialCode)
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: "program", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	})
	if err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", arch
	cf.Config = v1.Config{Entrypoint: []string{"/program"}, Labels: map[string]string{"dev.labctl.trial": image}}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	ref, err := name.NewTag(image)
	if err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	var out bytes.Buffer
	if err := tarball.Write(ref, img, &out); err != nil {
		return nil, fmt.Errorf("trial image: %w", err)
	}
	return out.Bytes(), nil
}
