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
		step int
	)
	cmd := &cobra.Command{
		Use:   "run LAB…",
		Short: "Bring up, apply, verify, report, take down",
		Long: `Bring up what the labs need, apply their manifests, run their probes, print the
verdicts and take the cluster down again. A cluster that was up before stays.

With --step N, do the steps of the lab's guide up to N for you instead, as far
as labctl check doesn't say that they are done. The cluster and what the steps
make stay; labctl reset removes the latter.

` + exitCodesHelp,
		Example: `  labctl run isolation-stack
  labctl run --all --keep
  labctl run l-4-sandboxing --step 2
  labctl run --failed-only --keep
  labctl run isolation-stack --provider k3s
  labctl run l-3-containerization --junit report.xml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("step") {
				return runStepCommand(cmd, g, args, step, uf, vf)
			}
			plan, err := vf.plan(args, uf.clusterFlags)
			if err != nil {
				return err
			}
			c, err := newConsole(g, "run")
			if err != nil {
				return err
			}
			defer c.Close()
			vf.docker, vf.keepDocker = uf.docker(), keep
			vf.docker.DebianMirror = uf.image.DebianMirror
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
			// Add-ons go with the cluster, where that goes.
			vf.keepAddons = keep
			keep = keep || err == nil
			vf.keepAddons = vf.keepAddons || labs.MakesNodes && !keep
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
	cmd.Flags().IntVar(&step, "step", 0, "do the steps of one lab's guide up to this one, in place of verifying it")
	must(cmd.RegisterFlagCompletionFunc("step", vf.completeStep))
	for _, flag := range []string{"all", "claim", "layer", "failed-only", "junit", "output", "strict", "probe-timeout"} {
		cmd.MarkFlagsMutuallyExclusive("step", flag)
	}
	return cmd
}

// runStepCommand is labctl run LAB --step N.
func runStepCommand(cmd *cobra.Command, g *global, names []string, step int, uf upFlags, vf verifyFlags) error {
	if names = append(names, vf.named...); len(names) != 1 {
		return errors.New("--step is for one lab; name it")
	}
	if err := vf.check(vf.format); err != nil {
		return err
	}
	l, err := vf.one(names[0])
	if err != nil {
		return err
	}
	c, err := newConsole(g, "step")
	if err != nil {
		return err
	}
	defer c.Close()
	return runStep(cmd.Context(), g, c, l, step, uf, vf.catalogue, vf.options(g).Language)
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
