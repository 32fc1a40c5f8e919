// Package docker makes a Docker of labctl's own: containerd, dockerd and
// BuildKit from Debian packages in one privileged container of the machine's
// engine. It has no network but its own, and its state lies in a volume that
// is removed with it, so nothing that happens in it stays or leaves.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/filelock"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// Options say what Docker to make.
type Options struct {
	// Name tells several apart; it is the cluster's, whether there is one or
	// not.
	Name  string
	Cache artifact.Cache
	// Suite and Packages are the Debian release and the packages of the image.
	Suite    string
	Packages []string
	// Apt is asked for when packages are really missing: it fetches indexes.
	Apt func(context.Context) (Apt, error)
	// ProbeImage is a docker-archive of labprobe, whose reference there is
	// Loaded; it gets the name Probe.
	ProbeImage io.WriterTo
	Loaded     string
	// Probe and Shell are the names that labprobe's image and the one with
	// busybox alone have in this Docker.
	Probe, Shell string
}

// Apt makes root file systems from packages; *debian.Apt does.
type Apt interface {
	Root(ctx context.Context, tar string, packages ...string) error
}

// label marks the container; its value is the name.
const label = "dev.labctl.docker"

// container is the container's name.
func container(name string) string { return "labctl-docker-" + name }

// Docker is one that runs.
type Docker struct {
	engine    *engine.Engine
	container string
}

var _ probe.Place = (*Docker)(nil)

func lockFile(stateDir, name string) string { return filepath.Join(stateDir, container(name)+".lock") }

// Lock keeps two runs with one name apart, and a run from a down. It waits
// until the other is done.
func Lock(ctx context.Context, stateDir, name string) (unlock func(), err error) {
	return filelock.Lock(ctx, lockFile(stateDir, name))
}

// Known says whether there may be a Docker of that name: whether somebody held
// its lock since the last Down.
func Known(stateDir, name string) (bool, error) {
	_, err := os.Stat(lockFile(stateDir, name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Find finds the Docker of that name as it is, nil if none runs.
func Find(ctx context.Context, e *engine.Engine, name string) (*Docker, error) {
	found, err := inspect(ctx, e, name)
	if err != nil || found == nil || !found.State.Running {
		return nil, err
	}
	return &Docker{engine: e, container: container(name)}, nil
}

// Up makes the Docker or finds the one that is there; one that isn't whole,
// or of another image, is made anew. The caller holds the lock.
func Up(ctx context.Context, e *engine.Engine, o Options, log progress.Log) (d *Docker, err error) {
	ref, err := o.ensureImage(ctx, e, log)
	if err != nil {
		return nil, err
	}
	step := log.Start("Docker of labctl's own")
	defer func() { step.End(err) }()
	found, err := inspect(ctx, e, o.Name)
	if err != nil {
		return nil, err
	}
	d = &Docker{engine: e, container: container(o.Name)}
	if found != nil && found.State.Running && found.Config.Labels[imageLabel] == ref {
		if err := d.start(ctx, o); err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if found != nil {
		if err := remove(ctx, e, o.Name); err != nil {
			return nil, err
		}
	}
	if _, err = e.Run(ctx, runArgs(e.Name, o.Name, ref)...); err == nil {
		err = d.start(ctx, o)
	}
	if err != nil {
		// The context may be over; what there is goes all the same, or the next
		// Up or Down finds it.
		clean, cancel := cleanup(ctx)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("docker of labctl's own: %w", err), remove(clean, e, o.Name))
	}
	return d, nil
}

// runArgs starts the container.
func runArgs(engineName, name, ref string) []string {
	args := []string{
		"run", "--detach", "--name", container(name), "--hostname", "docker",
		"--label", label + "=" + name, "--label", imageLabel + "=" + ref,
		"--privileged", "--network", "none", "--tmpfs", "/run", "--tmpfs", "/tmp",
		// overlay2 can't lie on the overlay that the container's own root is;
		// an anonymous volume goes away with the container (rm --volumes).
		"--volume", "/var",
	}
	if engineName != engine.Nerdctl { // which has no such flag, and does it
		args = append(args, "--cgroupns", "private")
	}
	return append(args, ref)
}

// imageLabel holds the image's reference: what engines say of a container's
// image differs.
const imageLabel = "dev.labctl.docker.image"

// start starts the daemons where they don't run, and sees that the images are
// there.
func (d *Docker) start(ctx context.Context, o Options) error {
	if err := d.must(ctx, nil, "docker-node", "start"); err != nil {
		return err
	}
	lacks := func(ref string) (bool, error) {
		exit, err := d.Run(ctx, nil, "docker", "image", "inspect", ref)
		return exit.Code != 0, err
	}
	if m, err := lacks(o.Loaded); err != nil {
		return err
	} else if m {
		r, w := io.Pipe()
		go func() {
			_, err := o.ProbeImage.WriteTo(w)
			w.CloseWithError(err)
		}()
		defer func() { _ = r.Close() }() // ends the writer where docker ends early
		if err := d.must(ctx, r, "docker", "load", "--quiet"); err != nil {
			return err
		}
	}
	if err := d.must(ctx, nil, "docker", "tag", o.Loaded, o.Probe); err != nil {
		return err
	}
	if m, err := lacks(o.Shell); err != nil {
		return err
	} else if m {
		const script = `docker-node shell-image | docker import --change 'CMD ["sh"]' --change 'ENV PATH=/bin' - "$1"`
		return d.must(ctx, nil, "sh", "-c", script, "sh", o.Shell)
	}
	return nil
}

// keptFile is there when a Docker is to stay after the run that made it.
const keptFile = "/run/labctl-kept"

// Keep says that the Docker stays when the run is over, and starts its daemons
// where they don't run: a run that was killed leaves one that nobody asked for.
func (d *Docker) Keep(ctx context.Context) error {
	return d.must(ctx, nil, "sh", "-c", `docker-node start && touch "$1"`, "sh", keptFile)
}

// IsKept says whether it is to stay.
func (d *Docker) IsKept(ctx context.Context) (bool, error) {
	exit, err := d.Run(ctx, nil, "test", "-e", keptFile)
	return exit.Code == 0, err
}

// must runs a command that has to succeed.
func (d *Docker) must(ctx context.Context, stdin io.Reader, argv ...string) error {
	exit, err := d.Run(ctx, stdin, argv...)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", strings.Join(argv, " "), exit.Code, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// Name implements probe.Place.
func (d *Docker) Name() string { return "docker" }

// Labprobe implements probe.Place; nothing puts labprobe there but an equip
// of the caller's.
func (d *Docker) Labprobe() string { return "" }

// Run implements probe.Place.
func (d *Docker) Run(ctx context.Context, stdin io.Reader, argv ...string) (probe.Exit, error) {
	r, err := d.engine.Exec(ctx, d.container, stdin, argv...)
	if err != nil {
		return probe.Exit{}, fmt.Errorf("%s in container %s: %w", argv[0], d.container, err)
	}
	return probe.Exit{Stdout: r.Stdout, Stderr: r.Stderr, Code: r.Code}, nil
}

// Argv is the engine's command line that runs argv there for a person, and
// the environment that it needs.
func (d *Docker) Argv(terminal bool, argv ...string) (line, env []string) {
	line = []string{d.engine.Path, "exec", "--interactive"}
	if terminal {
		line = append(line, "--tty")
	}
	return append(append(line, d.container), argv...), d.engine.Env
}

// Down removes what Up made; it is no error if there is nothing. The caller
// holds the lock, whose file goes too.
func Down(ctx context.Context, e *engine.Engine, stateDir, name string, log progress.Log) (err error) {
	found, err := inspect(ctx, e, name)
	if err != nil {
		return err
	}
	if found != nil {
		step := log.Start("Removing Docker of labctl's own")
		defer func() { step.End(err) }()
		if err := remove(ctx, e, name); err != nil {
			return err
		}
	}
	return os.Remove(lockFile(stateDir, name))
}

type inspected struct {
	Config struct{ Labels map[string]string }
	State  struct{ Running bool }
}

// missing is what engines say of a container that isn't there.
var missing = regexp.MustCompile(`(?i)no such (container|object)|no container with name`)

// inspect finds the container, nil if there is none. One of that name that
// isn't labctl's is an error.
func inspect(ctx context.Context, e *engine.Engine, name string) (*inspected, error) {
	r, err := e.Run(ctx, "inspect", "--type", "container", container(name))
	if err != nil {
		if missing.MatchString(err.Error()) {
			return nil, nil
		}
		return nil, err
	}
	return parseInspect(r.Stdout, e.Name, name)
}

func parseInspect(b []byte, engineName, name string) (*inspected, error) {
	var all []inspected
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("the engine's inspect: %w", err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("the engine's inspect of %s tells of %d containers", container(name), len(all))
	}
	if all[0].Config.Labels[label] != name {
		return nil, fmt.Errorf("there is a container %s that labctl didn't make; use another --name, or remove it with `%s rm -f %s`", container(name), engineName, container(name))
	}
	return &all[0], nil
}

// remove kills the container and removes it with its volume.
func remove(ctx context.Context, e *engine.Engine, name string) error {
	_, err := e.Run(ctx, "rm", "--force", "--volumes", container(name))
	if err != nil && !missing.MatchString(err.Error()) {
		return fmt.Errorf("remove container %s: %w", container(name), err)
	}
	return nil
}
