package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/docker"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/verify/cluster"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// docker are the options of the Docker that belongs to the cluster's name.
func (f *clusterFlags) docker() lifecycle.DockerOptions {
	return lifecycle.DockerOptions{Name: f.name, StateDir: stateDir(), Engine: engine.Options{Name: f.engine}}
}

func newDockerCommand(g *global) *cobra.Command {
	var name, with string
	cmd := &cobra.Command{
		Use:   "docker [ARGUMENT…]",
		Short: "Docker's command line in the Docker of the labs, or a shell there",
		Long: `Run docker with these arguments in the Docker that labs about Docker have: its
daemons are in a container of their own, and nothing of it touches a Docker of
this machine. It is brought up if it isn't, and stays until labctl down. Without
arguments: a shell there. Flags of labctl come before the first argument.`,
		Example: `  labctl docker run --rm labctl/shell echo hello
  labctl docker images
  labctl docker              # a shell beside dockerd`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newConsole(g, "docker")
			if err != nil {
				return err
			}
			o := lifecycle.DockerOptions{Name: name, StateDir: stateDir(), Engine: engine.Options{Name: with}}
			argv, env, err := enterDocker(cmd.Context(), g, c, o, args)
			c.Close()
			if err != nil {
				return err
			}
			return attach(cmd.Context(), g, argv, env)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&name, "name", fromEnvironment("name", defaultName), "name of the cluster to which it belongs")
	cmd.Flags().StringVar(&with, "engine", fromEnvironment("engine", ""), "container engine: "+joinOr(engine.Names())+" (default: the first that starts a privileged container)")
	must(cmd.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions(engine.Names(), cobra.ShellCompDirectiveNoFileComp)))
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	return cmd
}

// enterDocker brings the Docker up to stay, and gives the command line that
// runs docker, or a shell, there.
func enterDocker(ctx context.Context, g *global, c *console, o lifecycle.DockerOptions, args []string) (argv, env []string, err error) {
	d, err := lifecycle.FindDocker(ctx, o, progress.Discard)
	if err == nil && d != nil {
		err = d.Keep(ctx)
	}
	if err != nil || d == nil {
		up, err := lifecycle.UpDocker(ctx, o, c)
		if err != nil {
			return nil, nil, provisionError(err, c)
		}
		defer up.Release()
		if err := up.Keep(ctx); err != nil {
			return nil, nil, provisionError(err, c)
		}
		d = up.Docker
	}
	inside := append([]string{"docker"}, args...)
	if len(args) == 0 {
		inside = []string{"sh"}
	}
	argv, env = d.Argv(isTerminal(g.in) && isTerminal(g.out), inside...)
	return argv, env, nil
}

// attach runs a program with labctl's own streams, and ends as it does.
func attach(ctx context.Context, g *global, argv, env []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = g.in, g.out, g.err
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exitWith(exit.ExitCode()) // the program has said why
	}
	return err
}

// prepareDocker makes the Docker that probes run in. Where it can't be had the
// run goes on, and what needs it is untestable with the reason. done removes
// it, unless it is to stay.
func prepareDocker(ctx context.Context, o lifecycle.DockerOptions, keep bool, log progress.Log) (place probe.Place, done func() error) {
	d, err := lifecycle.UpDocker(ctx, o, log)
	if err != nil {
		log.Info("No Docker of labctl's own: %s", firstLine(err))
		return docker.Unavailable(errors.New(firstLine(err))), func() error { return nil }
	}
	return d.Place, func() error {
		defer d.Release()
		// A context of its own: Ctrl-C and --timeout don't leave it behind.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dockerDownLimit)
		defer cancel()
		if keep {
			return d.Keep(ctx)
		}
		// It may have been kept before, or by labctl docker meanwhile.
		if kept, err := d.IsKept(ctx); err == nil && kept {
			return nil
		}
		return d.Down(ctx)
	}
}

// dockerDownLimit is for killing a container and removing its volume. After
// Ctrl-C labctl ends before that; the next run with the name, or down, removes
// what is left then.
const dockerDownLimit = time.Minute

// dockerLooker looks at what is in the Docker of the labs; where none is up
// there is nothing.
type dockerLooker struct {
	options lifecycle.DockerOptions
	found   *docker.Docker
}

// Look implements guide.Looker.
func (d *dockerLooker) Look(ctx context.Context, check *lab.Check) (cluster.Objects, error) {
	if d.found == nil {
		var err error
		if d.found, err = lifecycle.FindDocker(ctx, d.options, progress.Discard); err != nil {
			return cluster.Objects{}, err
		}
	}
	if d.found == nil {
		return guide.Docker{}.Look(ctx, check)
	}
	return guide.Docker{Place: d.found}.Look(ctx, check)
}
