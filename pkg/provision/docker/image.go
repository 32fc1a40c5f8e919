package docker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// files are put over Debian's packages: configurations, and the two programs
// that start Dockers.
//
//go:embed files
var files embed.FS

// recipe changes when this package makes another image from the same inputs.
const recipe = "1"

// rootKey is the artifact of the packages. The mirror is no input: every
// mirror serves what Debian has signed.
func (o Options) rootKey() artifact.Key {
	return artifact.Key{Name: "docker-root", Inputs: append([]string{recipe, o.Suite, runtime.GOARCH}, o.Packages...)}
}

// reference names the image by everything that goes into it.
func (o Options) reference(layer v1.Layer) (string, error) {
	digest, err := layer.DiffID()
	if err != nil {
		return "", fmt.Errorf("files of Docker's image: %w", err)
	}
	sum := sha256.Sum256([]byte(o.rootKey().ID() + digest.String()))
	return repository + ":" + hex.EncodeToString(sum[:8]), nil
}

const repository = "localhost/labctl/docker"

// ensureImage returns the image's reference, and makes the image first where
// the engine doesn't have it.
func (o Options) ensureImage(ctx context.Context, e *engine.Engine, log progress.Log) (ref string, err error) {
	layer, err := filesLayer()
	if err != nil {
		return "", err
	}
	if ref, err = o.reference(layer); err != nil {
		return "", err
	}
	if there, err := has(ctx, e, ref); err != nil || there {
		return ref, err
	}
	unlock, err := o.lockBuild(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if there, err := has(ctx, e, ref); err != nil || there {
		return ref, err // another labctl made it meanwhile
	}
	step := log.Start("Image of Docker from Debian packages")
	defer func() { step.End(err) }()
	dir, err := o.Cache.Ensure(ctx, o.rootKey(), func(ctx context.Context, dir string) error {
		apt, err := o.Apt(ctx)
		if err != nil {
			return err
		}
		return apt.Root(ctx, filepath.Join(dir, rootFile), o.Packages...)
	})
	if err != nil {
		return "", err
	}
	return ref, o.load(ctx, e, ref, filepath.Join(dir, rootFile), layer)
}

const rootFile = "root.tar"

func (o Options) lockBuild(ctx context.Context) (unlock func(), err error) {
	if err := os.MkdirAll(o.Cache.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("labctl's cache: %w", err)
	}
	return filelock.Lock(ctx, filepath.Join(o.Cache.Dir, "docker-image.lock"))
}

func has(ctx context.Context, e *engine.Engine, ref string) (bool, error) {
	r, err := e.Run(ctx, "images", "--quiet", "--no-trunc", "--filter", "reference="+ref)
	return strings.TrimSpace(string(r.Stdout)) != "", err
}

// load loads the root and the files as one image; an engine shows an image
// when it is whole.
func (o Options) load(ctx context.Context, e *engine.Engine, ref, root string, layer v1.Layer) (err error) {
	img, err := assemble(root, layer)
	if err != nil {
		return fmt.Errorf("image of Docker: %w", err)
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("image of Docker: %w", err)
	}
	// Podman keeps a copy of its input in TMPDIR, and leaves it behind when it
	// is killed; the build's lock is held, so what lies there is nobody's.
	tmp := filepath.Join(o.Cache.Dir, "docker-image.tmp")
	if err := os.RemoveAll(tmp); err != nil {
		return fmt.Errorf("image of Docker: %w", err)
	}
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return fmt.Errorf("image of Docker: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	r, w := io.Pipe()
	go func() { w.CloseWithError(tarball.Write(tag, img, w)) }()
	defer func() { _ = r.Close() }() // ends the writer where the engine ends early
	cmd := e.Command("load")
	cmd.Stdin, cmd.Env = r, append(slices.Clone(cmd.Env), "TMPDIR="+tmp)
	_, err = process.Run(ctx, cmd)
	return err
}

func assemble(root string, layer v1.Layer) (v1.Image, error) {
	rootLayer, err := tarball.LayerFromFile(root, tarball.WithCompressionLevel(ociimage.Stored))
	if err != nil {
		return nil, err
	}
	return ociimage.Assemble(runtime.GOARCH, "labctl", v1.Config{
		Entrypoint: []string{"tini", "--", "docker-node", "init"},
		Env: []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			// By this variable programs know that AppArmor is the host's
			// (containerd, pkg/apparmor).
			"container=docker",
			"BUILDKIT_PROGRESS=plain",
		},
		StopSignal: "SIGKILL",
	}, rootLayer, layer)
}

// filesLayer is a layer of the files.
func filesLayer() (v1.Layer, error) {
	var entries []ociimage.Entry
	err := fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := files.ReadFile(path)
		e := ociimage.Entry{Path: strings.TrimPrefix(path, "files"), Mode: 0o644, Content: content}
		if bytes.HasPrefix(content, []byte("#!")) {
			e.Mode = 0o755
		}
		entries = append(entries, e)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("files of Docker's image: %w", err)
	}
	return ociimage.Layer(ociimage.Stored, entries)
}
