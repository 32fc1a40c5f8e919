package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
)

// kubectlShim stands for kubectl on machines that have none.
const kubectlShim = "#!/bin/sh\nexec labctl kubectl -- \"$@\"\n"

// desk is where a person works in a lab: a temporary folder with a kubeconfig
// whose only context is the lab cluster's, with lab as its namespace, and with
// the programs that steps call; and the environment that leads there.
type desk struct {
	dir string
	env []string
}

// newDesk makes the desk; Close removes it. cluster is nil for labs that need
// none.
func newDesk(ctx context.Context, cluster provision.Cluster, f clusterFlags, c catalogue) (_ *desk, err error) {
	d := &desk{}
	if d.dir, err = os.MkdirTemp("", "labctl-desk-"); err != nil {
		return nil, fmt.Errorf("folder for the shell's kubeconfig: %w", err)
	}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	bin := filepath.Join(d.dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("labctl's own path: %w", err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "labctl")); err != nil {
		return nil, err
	}
	d.set("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for flag, value := range map[string]string{"provider": f.provider, "name": f.name, "engine": f.engine} {
		if value != "" {
			d.set(variable(flag), value)
		}
	}
	if c.dir != "" {
		dir, err := filepath.Abs(c.dir)
		if err != nil {
			return nil, err
		}
		d.set(variable("catalogue"), dir)
	}
	if cluster == nil {
		return d, nil
	}
	kubeconfig := kubecontext.File{Path: filepath.Join(d.dir, "kubeconfig")}
	if err := kubeconfig.Add(ctx, cluster.KubeContext(), kubecontext.FromREST(cluster.RESTConfig(), cluster.KubeContext(), lab.PeopleNamespace)); err != nil {
		return nil, err
	}
	d.set("KUBECONFIG", kubeconfig.Path)
	if _, err := exec.LookPath("kubectl"); err != nil {
		//nolint:gosec // a program is executable
		if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(kubectlShim), 0o755); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *desk) set(name, value string) { d.env = append(d.env, name+"="+value) }

// Close removes the desk.
func (d *desk) Close() { _ = os.RemoveAll(d.dir) } // a folder that stays holds nothing that the user doesn't have

// run runs a program at the desk and waits; its exit code is no error.
func (d *desk) run(ctx context.Context, s streams, argv ...string) (int, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), d.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, s.err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptGrace / 2
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case err != nil:
		return 0, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return 0, nil
}
