package nodeimage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/provision/ociimage"
)

// prefix of the build containers' names. They have no label, because a commit
// would hand it on to the image and to every node made from it.
const prefix = "labctl-build-"

// container is a build container, and the image of the same name that it was
// started from, if that was made for it alone. Both are removed when the build
// ends; where it is killed, the next one knows them by a lock file that nobody
// holds.
type container struct {
	engine *engine.Engine
	name   string
	lock   string
	unlock func()
}

func locksDir(cache string) string { return filepath.Join(cache, "builds") }

// lockBuilds keeps builds with one cache folder apart.
func lockBuilds(ctx context.Context, cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	return filelock.Lock(ctx, filepath.Join(cache, "node-image.lock"))
}

// reserve makes the name and the lock; the caller must remove the container.
func reserve(e *engine.Engine, cache string) (*container, error) {
	if err := os.MkdirAll(locksDir(cache), 0o755); err != nil {
		return nil, err
	}
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	c := &container{engine: e, name: prefix + hex.EncodeToString(id)}
	c.lock = filepath.Join(locksDir(cache), c.name+".lock")
	var err error
	c.unlock, err = filelock.TryLock(c.lock)
	return c, err
}

// tmp is a folder for temporary files of the engine's program.
func (c *container) tmp() string { return strings.TrimSuffix(c.lock, ".lock") + ".tmp" }

// raw is the name of an image that is made for this container alone.
func (c *container) raw() string { return "localhost/labctl/node-raw:" + c.name }

// start starts the container, which waits. What is written to /run, /tmp and
// apt's caches never gets into the image. It uses the host's network: archives
// and proxies may listen on the host's loopback.
func (c *container) start(ctx context.Context, image string) error {
	argv := []string{"run", "--detach", "--name", c.name, "--network", "host",
		"--security-opt", "seccomp=unconfined", "--stop-signal", "SIGKILL", "--entrypoint", "sleep"}
	for _, dir := range []string{"/run", "/tmp", "/var/cache/apt", "/var/lib/apt/lists"} {
		argv = append(argv, "--tmpfs", dir)
	}
	if _, err := c.engine.Run(ctx, append(argv, image, "infinity")...); err != nil {
		return fmt.Errorf("build container: %w", err)
	}
	return nil
}

// cleanup is how long removing a container may take after the build's context
// has ended.
const cleanup = 30 * time.Second

// missing is what engines say of a container or an image that isn't there.
var missing = regexp.MustCompile(`(?i)no such (container|image)|image not known|no container with name`)

// remove removes what is there of the container and its image.
func (c *container) remove() error {
	defer c.unlock()
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	for _, argv := range [][]string{{"rm", "--force", "--volumes", c.name}, {"rmi", c.raw()}} {
		if _, err := c.engine.Run(ctx, argv...); err != nil && !missing.MatchString(err.Error()) {
			return fmt.Errorf("remove the build container: %w", err)
		}
	}
	return errors.Join(os.RemoveAll(c.tmp()), os.Remove(c.lock))
}

// run runs a shell script in the container, with stdin if it isn't nil.
func (c *container) run(ctx context.Context, script string, stdin io.Reader, args ...string) (process.Result, error) {
	argv := []string{"exec"}
	if stdin != nil {
		argv = append(argv, "--interactive")
	}
	cmd := c.engine.Command(append(append(argv, c.name, "sh", "-c", script, "sh"), args...)...)
	cmd.Stdin = stdin
	return process.Run(ctx, cmd)
}

// put writes files.
func (c *container) put(ctx context.Context, entries []ociimage.Entry) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(ociimage.Write(w, entries)) }()
	defer func() { _ = r.Close() }() // ends the writer where tar ends early
	_, err := c.run(ctx, "tar --extract --directory / --no-same-owner --file -", r)
	return err
}

// commit makes the container an image of a node; see kind's Dockerfile for
// the settings. The tag is set when the image is whole.
func (c *container) commit(ctx context.Context, ref string, changes ...string) error {
	argv := []string{"commit"}
	for _, change := range append([]string{
		`ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]`,
		"CMD []",
		"ENV container=docker",
		"STOPSIGNAL SIGRTMIN+3",
	}, changes...) {
		argv = append(argv, "--change", change)
	}
	_, err := c.engine.Run(ctx, append(argv, c.name, ref)...)
	return err
}

// removeStale removes what is left of builds whose process is gone.
func removeStale(e *engine.Engine, cache string) error {
	locks, err := filepath.Glob(filepath.Join(locksDir(cache), prefix+"*.lock"))
	if err != nil {
		return err
	}
	for _, lock := range locks {
		unlock, err := filelock.TryLock(lock)
		if errors.Is(err, filelock.ErrHeld) {
			continue
		}
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(lock), ".lock")
		if err := (&container{engine: e, name: name, lock: lock, unlock: unlock}).remove(); err != nil {
			return err
		}
	}
	return nil
}
