package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/provision"
)

func newRunCommand(g *global) *cobra.Command {
	var (
		uf   upFlags
		vf   verifyFlags
		keep bool
	)
	cmd := &cobra.Command{
		Use:   "run LAB…",
		Short: "Bring up, apply, verify, report, take down",
		Long: `Bring up what the labs need, apply their manifests, run their probes, print the
verdicts and take the cluster down again. A cluster that was up before stays.

` + exitCodesHelp,
		Example: `  labctl run isolation-stack
  labctl run --all --keep
  labctl run l-3-containerization --junit report.xml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := vf.plan(args)
			if err != nil {
				return err
			}
			c, err := newConsole(g, "run")
			if err != nil {
				return err
			}
			defer c.Close()
			if !needsCluster(plan) {
				return runVerify(cmd.Context(), g, c, plan, nil, vf)
			}
			for _, l := range plan.Labs {
				if n := l.Spec.Needs.Nodes; n != nil && *n-1 > uf.workers {
					uf.workers = *n - 1
				}
			}
			labs, err := newLabs(uf.options())
			if err != nil {
				return err
			}
			_, err = labs.Get(cmd.Context(), uf.name)
			if err != nil && !errors.Is(err, provision.ErrNotFound) {
				// Up says what is wrong, or mends it.
				c.Info("%s", firstLine(err))
			}
			keep = keep || err == nil
			cluster, err := runUp(cmd.Context(), c, uf)
			if err != nil {
				return err
			}
			err = runVerify(cmd.Context(), g, c, plan, cluster, vf)
			if keep || cmd.Context().Err() != nil {
				c.Info("The cluster stays; remove it with: labctl down --name %s", uf.name)
				return err
			}
			return errors.Join(err, downAfter(c, uf.clusterFlags))
		},
	}
	uf.register(cmd)
	vf.register(cmd)
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the cluster up")
	return cmd
}

// downAfter takes the cluster down with a context of its own, so that a
// --timeout that ended the run doesn't leave the cluster behind.
func downAfter(c *console, f clusterFlags) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return runDown(ctx, c, f)
}
