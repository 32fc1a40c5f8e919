package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/verify"
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
  labctl run isolation-stack --provider k3s
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
			labs, err := newLabs(uf.options())
			if err != nil {
				return err
			}
			if labs.MakesNodes {
				uf.workers = max(uf.workers, workersFor(plan))
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
				c.Info("The cluster stays; remove it with: %s", uf.command("down"))
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

// workersFor is how many workers the labs want. Where the nodes are those that
// are there, a probe that misses one says so.
func workersFor(plan verify.Plan) int {
	workers := 0
	for _, l := range plan.Labs {
		if n := l.Spec.Needs.Nodes; n != nil {
			workers = max(workers, *n-1)
		}
	}
	return workers
}

// downLimit is for what takes longest: K3s's uninstall script and apt.
const downLimit = 5 * time.Minute

// downAfter takes the cluster down with a context of its own, so that a
// --timeout that ended the run doesn't leave the cluster behind.
func downAfter(c *console, f clusterFlags) error {
	ctx, cancel := context.WithTimeout(context.Background(), downLimit)
	defer cancel()
	return runDown(ctx, c, f)
}
