package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision"
)

// findCluster is the cluster that is up.
func findCluster(ctx context.Context, f clusterFlags) (provision.Cluster, error) {
	labs, err := newLabs(f.options())
	if err != nil {
		return nil, err
	}
	cluster, err := labs.Get(ctx, f.name)
	if errors.Is(err, provision.ErrNotFound) {
		err = fmt.Errorf("cluster %s is not up; bring it up with: %s", f.name, f.command("up"))
	}
	return cluster, withCode(provisionCode(err), err)
}

func newShellCommand(g *global) *cobra.Command {
	var (
		f clusterFlags
		c catalogue
	)
	cmd := &cobra.Command{
		Use:   "shell [-- COMMAND ARGUMENTS…]",
		Short: "Open a shell whose kubectl is the lab cluster's",
		Long: `Open $SHELL, or run a command, where kubectl's context is the lab cluster and
its namespace is ` + lab.PeopleNamespace + `, which is made if it isn't there; labctl and kubectl (this
machine's, or that of the lab's node) are on PATH. The kubeconfig is a temporary
one: yours stays as it is.`,
		Example: `  labctl shell
  labctl shell --name class-a
  labctl shell -- sh -c 'labctl manifest kubernetes/quota.yaml | kubectl apply -f -'`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := findCluster(cmd.Context(), f)
			if err != nil {
				return err
			}
			if err := ensureSpace(cmd.Context(), cluster); err != nil {
				return err
			}
			d, err := newDesk(cmd.Context(), cluster, f, c)
			if err != nil {
				return err
			}
			defer d.Close()
			if len(args) == 0 {
				args = []string{cmp.Or(os.Getenv("SHELL"), "/bin/sh")}
				fmt.Fprintf(g.err, "kubectl is that of cluster %s, in the namespace %s; leave with exit.\n", f.name, lab.PeopleNamespace)
			}
			code, err := d.run(cmd.Context(), g.streams, args...)
			if err != nil {
				return err
			}
			return exitWith(code)
		},
	}
	f.register(cmd)
	c.register(cmd)
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// ensureSpace makes the namespace that people work in.
func ensureSpace(ctx context.Context, cluster provision.Cluster) error {
	at, err := guide.New(cluster.RESTConfig())
	if err == nil {
		err = at.Ensure(ctx)
	}
	return withCode(exitProvision, err)
}
