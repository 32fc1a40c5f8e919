package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// resetLimit bounds how long reset waits for Pods and volumes to go.
const resetLimit = 2 * time.Minute

func newResetCommand(g *global) *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Remove what a person made in the cluster, to begin a lab anew",
		Long: `Remove the namespace ` + lab.PeopleNamespace + ` with all that is in it, and the objects outside of it
that came from labctl manifest, which carry labctl's labels. Everything else
stays. It ends when they are gone.`,
		Example: `  labctl reset
  labctl reset --name class-a`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := findCluster(cmd.Context(), f)
			if err != nil {
				return err
			}
			at, err := lookerOf(cluster)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), resetLimit, fmt.Errorf("not done within %v", resetLimit))
			defer cancel()
			removed, err := at.Reset(ctx)
			if err != nil {
				return withCode(exitProvision, err)
			}
			for _, what := range removed {
				if _, err := fmt.Fprintf(g.out, "removed %s\n", what); err != nil {
					return err
				}
			}
			if len(removed) == 0 {
				fmt.Fprintln(g.err, "there is nothing to remove")
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}
