package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/compare/measure"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
	"github.com/isolation-stack/labctl/pkg/report"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
)

const defaultRounds = 10

// compareFlags are the flags of labctl compare.
type compareFlags struct {
	format   string
	quick    bool
	rounds   int
	runtimes []string
	classes  []string
	node     string
	seed     uint64
}

func (f *compareFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.format, "output", "o", "table", "format: "+joinOr(report.Formats))
	cmd.Flags().BoolVar(&f.quick, "quick", false, fmt.Sprintf("%d rounds, about a minute on two cores", compare.MinRounds))
	cmd.Flags().IntVar(&f.rounds, "runs", defaultRounds, fmt.Sprintf("rounds that count, %d to %d; each has %d Pods of every runtime", compare.MinRounds, compare.MaxRounds, compare.VisitsPerRound))
	cmd.Flags().StringSliceVar(&f.runtimes, "runtime", runtimes.Names, "runtimes to compare; the others' ratios are to runc, or to the first where runc isn't among them")
	cmd.Flags().StringSliceVar(&f.classes, "class", nil, "another RuntimeClass of the cluster to compare, for Linux programs; repeatable")
	cmd.Flags().StringVar(&f.node, "node", "control-plane", "node to measure on: control-plane, worker or a node's name")
	cmd.Flags().Uint64Var(&f.seed, "seed", 0, "seed of the order, to repeat one (default: by chance; the report names it)")
	cmd.MarkFlagsMutuallyExclusive("quick", "runs")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(report.Formats, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("runtime", cobra.FixedCompletions(runtimes.Names, cobra.ShellCompDirectiveNoFileComp)))
}

// plan checks the flags; classes are filled in when the cluster is known.
func (f *compareFlags) plan(cmd *cobra.Command) (measure.Plan, error) {
	p := measure.Plan{Rounds: f.rounds, Seed: f.seed, Node: f.node}
	if err := oneOf(map[string]allowed{"output": {f.format, report.Formats}}); err != nil {
		return p, err
	}
	if f.quick {
		p.Rounds = compare.MinRounds
	}
	if p.Rounds < compare.MinRounds || p.Rounds > compare.MaxRounds {
		return p, fmt.Errorf("--runs is %d; it can be %d to %d: with fewer samples no difference can be shown", f.rounds, compare.MinRounds, compare.MaxRounds)
	}
	if !cmd.Flags().Changed("seed") {
		p.Seed = uint64(rand.Uint32()) // JSON readers may hold numbers as doubles
	}
	add := func(s compare.Subject) error {
		if slices.ContainsFunc(p.Subjects, func(o compare.Subject) bool { return o.Name == s.Name }) {
			return fmt.Errorf("%s is named twice", s.Name)
		}
		p.Subjects = append(p.Subjects, s)
		return nil
	}
	for _, r := range f.runtimes {
		if !slices.Contains(runtimes.Names, r) {
			return p, fmt.Errorf("--runtime is %q; known: %s; another RuntimeClass is named by --class", r, strings.Join(runtimes.Names, ", "))
		}
		if err := add(compare.Subject{Name: r, Runtime: r}); err != nil {
			return p, fmt.Errorf("--runtime: %w", err)
		}
	}
	for _, c := range f.classes {
		if err := add(compare.Subject{Name: c, Runtime: runtimes.Runc, Class: c}); err != nil {
			return p, fmt.Errorf("--class: %w", err)
		}
	}
	if len(p.Subjects) < 2 {
		return p, errors.New("nothing to compare; name two runtimes or classes by --runtime and --class")
	}
	p.Baseline = p.Subjects[0].Name
	if slices.Contains(f.runtimes, runtimes.Runc) {
		p.Baseline = runtimes.Runc
	}
	return p, nil
}

func newCompareCommand(g *global) *cobra.Command {
	var (
		cf clusterFlags
		f  compareFlags
	)
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare what the runtimes cost, on a cluster that is up",
		Long: `Measure what runtimes cost, side by side on one node: the start and end of
Pods, computing, system calls, files, memory. Rounds with the runtimes in a
shuffled order after a warm-up, medians and ratios with intervals, and "no
difference shown" where the samples don't differ. What else the machine did
meanwhile is part of the result.`,
		Example: `  labctl compare --quick
  labctl compare --runtime runc,gvisor --runs 20 -o json
  labctl compare --runtime runc --class crun`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := f.plan(cmd)
			if err != nil {
				return err
			}
			c, err := newConsole(g, "compare")
			if err != nil {
				return err
			}
			defer c.Close()
			labs, err := newLabs(cf.options())
			if err != nil {
				return err
			}
			cluster, err := labs.Get(cmd.Context(), cf.name)
			if err != nil {
				if errors.Is(err, provision.ErrNotFound) {
					err = fmt.Errorf("cluster %s is not up; bring it up with: %s", cf.name, cf.command("up"))
				}
				return provisionError(err, c)
			}
			if err := labs.Load(cmd.Context(), cluster); err != nil {
				return provisionError(err, c)
			}
			return runCompare(cmd.Context(), g, c, plan, cluster, f)
		},
	}
	cf.register(cmd)
	f.register(cmd)
	return cmd
}

func runCompare(ctx context.Context, g *global, c *console, plan measure.Plan, cluster provision.Cluster, f compareFlags) error {
	for i, s := range plan.Subjects {
		if s.Class == "" {
			plan.Subjects[i].Class, _ = cluster.RuntimeClass(s.Runtime) // "" is untestable, and said so
		}
	}
	api, err := apply.New(cluster.RESTConfig(), nil)
	if err != nil {
		return provisionError(err, c)
	}
	r, err := measure.Run(ctx, plan, measure.Setup{Cluster: cluster, API: api, Version: version(), Log: c})
	if len(r.Runtimes) == 0 {
		return provisionError(err, c)
	}
	b, writeErr := report.Comparison(f.format, r, report.Options{Color: isTerminal(g.out)})
	if writeErr == nil {
		_, writeErr = g.out.Write(b)
	}
	if writeErr != nil {
		return fmt.Errorf("write the report: %w", writeErr)
	}
	switch cause := context.Cause(ctx); {
	case err != nil:
		return provisionError(err, c)
	case r.Interrupted && !errors.Is(cause, context.Canceled):
		return withCode(exitDiffers, cause) // --timeout
	case r.Interrupted:
		return context.Canceled
	case slices.ContainsFunc(r.Runtimes, func(rt compare.Runtime) bool { return rt.Error != "" }):
		return withCode(exitDiffers, errors.New("a runtime's Pod failed; the report names it"))
	}
	return nil
}
