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
	"strings"
	"time"

	"github.com/isolation-stack/labctl/pkg/process"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
)

// prefix of the build containers' names. They have no label, because a commit
// would hand it on to the image and to every node made from it.
const prefix = "labctl-build-"

// container is a build container. It is removed when the build ends; where
// the build is killed, the next one knows it by its lock, which nobody holds.
type container struct {
	engine *engine.Engine
	name   string
	unlock func()
	lock   string
}

func locksDir(cache string) string { return filepath.Join(cache, "builds") }

// lockBuilds keeps builds with one cache folder apart.
func lockBuilds(ctx context.Context, cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	return filelock.Lock(ctx, filepath.Join(cache, "node-image.lock"))
}

// start starts a container that waits. What is written to /run, /tmp and
// apt's caches never gets into the image. It uses the host's network: archives
// and proxies may listen on the host's loopback.
func start(ctx context.Context, e *engine.Engine, cache, image string, args ...string) (*container, error) {
	if err := os.MkdirAll(locksDir(cache), 0o755); err != nil {
		return nil, err
	}
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	c := &container{engine: e, name: prefix + hex.EncodeToString(id)}
	c.lock = filepath.Join(locksDir(cache), c.name+".lock")
	var err error
	if c.unlock, err = filelock.TryLock(c.lock); err != nil {
		return nil, err
	}
	argv := []string{"run", "--detach", "--name", c.name, "--network", "host",
		"--security-opt", "seccomp=unconfined", "--stop-signal", "SIGKILL", "--entrypoint", "sleep"}
	for _, dir := range []string{"/run", "/tmp", "/var/cache/apt", "/var/lib/apt/lists"} {
		argv = append(argv, "--tmpfs", dir)
	}
	argv = append(append(argv, args...), image, "infinity")
	if _, err := e.Run(ctx, argv...); err != nil {
		return nil, errors.Join(fmt.Errorf("build container: %w", err), c.remove())
	}
	return c, nil
}

// cleanup is how long removing a container may take after the build's context
// has ended.
const cleanup = 30 * time.Second

// remove removes the container, if it is there.
func (c *container) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanup)
	defer cancel()
	_, err := c.engine.Run(ctx, "rm", "--force", "--volumes", c.name)
	c.unlock()
	if err != nil && !strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return fmt.Errorf("remove the build container: %w", err)
	}
	return os.Remove(c.lock)
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
func (c *container) put(ctx context.Context, entries []entry) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeEntries(w, entries)) }()
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

// removeStale removes the build containers whose process is gone.
func removeStale(ctx context.Context, e *engine.Engine, cache string) error {
	r, err := e.Run(ctx, "ps", "--all", "--filter", "name=^"+prefix, "--format", "{{.Names}}")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(r.Stdout)) {
		lock := filepath.Join(locksDir(cache), name+".lock")
		if _, err := os.Stat(lock); err != nil {
			continue // made with another cache folder, maybe by another user
		}
		unlock, err := filelock.TryLock(lock)
		if errors.Is(err, filelock.ErrHeld) {
			continue
		}
		if err != nil {
			return err
		}
		c := &container{engine: e, name: name, lock: lock, unlock: unlock}
		if err := c.remove(); err != nil {
			return err
		}
	}
	return nil
}
