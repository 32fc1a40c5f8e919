package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/report"
	"github.com/isolation-stack/labctl/pkg/verify"
	"github.com/isolation-stack/labctl/pkg/verify/apply"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// verifyFlags are the flags of every command that verifies labs.
type verifyFlags struct {
	catalogue
	outputFlags
	all      bool
	claims   []string
	layers   []string
	junit    string
	strict   bool
	perProbe time.Duration
	// without are add-ons to leave out; keepAddons leaves those up that the
	// run brings up.
	without    []string
	keepAddons bool
	// named are labs by --lab; failedOnly takes the claims that failed in the
	// last run, whose result is in the file last.
	named      []string
	failedOnly bool
	last       string
	// docker is the Docker for labs about it, keepDocker whether it stays.
	docker     lifecycle.DockerOptions
	keepDocker bool
}

func (f *verifyFlags) register(cmd *cobra.Command) {
	f.catalogue.register(cmd)
	f.outputFlags.register(cmd, report.Formats...)
	layers := make([]string, len(lab.Layers))
	for i, l := range lab.Layers {
		layers[i] = string(l)
	}
	cmd.Flags().BoolVar(&f.all, "all", false, "every lab of the catalogue")
	cmd.Flags().StringSliceVar(&f.named, "lab", nil, "this lab, as if it were named; repeatable")
	cmd.Flags().BoolVar(&f.failedOnly, "failed-only", false, "only claims that differed, broke or weren't reached in the last run on this cluster")
	cmd.Flags().StringSliceVar(&f.claims, "claim", nil, "only this claim; repeatable")
	cmd.Flags().StringSliceVar(&f.layers, "layer", nil, "only claims of this layer; repeatable: "+joinOr(layers))
	cmd.Flags().StringVar(&f.junit, "junit", "", "also write JUnit XML to this file")
	cmd.Flags().StringSliceVar(&f.without, "without", nil, "leave this add-on out, to see which claims depend on it; repeatable")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "an untestable claim fails the run")
	cmd.Flags().DurationVar(&f.perProbe, "probe-timeout", 0, "limit for one probe (default "+verify.DefaultTimeout.String()+")")
	must(cmd.RegisterFlagCompletionFunc("without", completeAddons))
	must(cmd.RegisterFlagCompletionFunc("layer", cobra.FixedCompletions(layers, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("lab", f.complete))
	cmd.MarkFlagsMutuallyExclusive("failed-only", "claim")
	cmd.ValidArgsFunction = f.complete
}

// plan turns names and flags into what to verify on a cluster.
func (f *verifyFlags) plan(names []string, on clusterFlags) (verify.Plan, error) {
	if err := f.check(report.Formats...); err != nil {
		return verify.Plan{}, err
	}
	if err := knownAddons(f.without); err != nil {
		return verify.Plan{}, err
	}
	names = slices.Concat(names, f.named)
	labs, err := f.load(names, f.all || (f.failedOnly && len(names) == 0))
	if err != nil {
		return verify.Plan{}, err
	}
	f.last = lastPath(on)
	p := verify.Plan{Labs: labs, Claims: f.claims, Strict: f.strict}
	if f.failedOnly {
		last, err := readLast(f.last)
		if err != nil {
			return verify.Plan{}, err
		}
		if p.Labs, p.Claims, err = failedOf(labs, last); err != nil {
			return verify.Plan{}, err
		}
	}
	for _, l := range f.layers {
		if !slices.Contains(lab.Layers, lab.Layer(l)) {
			return verify.Plan{}, fmt.Errorf("--layer is %q; %s", l, lab.Suggest(l, layerNames()))
		}
		p.Layers = append(p.Layers, lab.Layer(l))
	}
	return p, p.Check()
}

func layerNames() []string {
	names := make([]string, len(lab.Layers))
	for i, l := range lab.Layers {
		names[i] = string(l)
	}
	return names
}

func newVerifyCommand(g *global) *cobra.Command {
	var (
		cf clusterFlags
		vf verifyFlags
	)
	cmd := &cobra.Command{
		Use:   "verify LAB…",
		Short: "Verify labs on a cluster that is up",
		Long: `Run the probes of labs, decide their claims and print the verdicts. The
cluster has to be up; labs that need none (L-1, L-2) run without it.`,
		Example: `  labctl verify isolation-stack
  labctl verify --all -o wide --lang zh
  labctl verify --all --layer L-4 --junit report.xml
  labctl verify l-4-sandboxing --claim 29-100 -o json
  labctl verify --failed-only
  labctl verify --all --provider kubeconfig --context edge`,
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := vf.plan(args, cf)
			if err != nil {
				return err
			}
			c, err := newConsole(g, "verify")
			if err != nil {
				return err
			}
			defer c.Close()
			vf.docker = cf.docker()
			var cluster provision.Cluster
			if needsCluster(plan) {
				labs, err := newLabs(cf.options())
				if err != nil {
					return err
				}
				if cluster, err = labs.Get(cmd.Context(), cf.name); err != nil {
					if errors.Is(err, provision.ErrNotFound) {
						err = fmt.Errorf("cluster %s is not up; bring it up with: %s", cf.name, cf.command("up"))
					}
					return provisionError(err, c)
				}
				if err := labs.Load(cmd.Context(), cluster); err != nil {
					return provisionError(err, c)
				}
			}
			return runVerify(cmd.Context(), g, c, plan, cluster, vf)
		},
	}
	cf.register(cmd)
	vf.register(cmd)
	cmd.Flags().BoolVar(&vf.keepAddons, "keep-addons", false, "leave the add-ons up that the run brings up")
	return cmd
}

// needsCluster says whether a claim of the plan may need one.
func needsCluster(p verify.Plan) bool {
	return slices.ContainsFunc(p.Labs, func(l *lab.Lab) bool {
		return (l.Spec.Needs.Nodes == nil || *l.Spec.Needs.Nodes > 0) && slices.ContainsFunc(l.Spec.Claims, func(c lab.Claim) bool { return p.Takes(&c) })
	})
}

// runVerify verifies the plan, writes the reports and returns errDiffers
// where the result says so. cluster may be nil.
func runVerify(ctx context.Context, g *global, c *console, plan verify.Plan, cluster provision.Cluster, f verifyFlags) (err error) {
	setup := verify.Setup{Kinds: kinds(), Version: version(), Timeout: f.perProbe, Log: c}
	setup.Env.Manifests = f.manifests()
	if cluster != nil {
		api, err := apply.New(cluster.RESTConfig(), f.manifests())
		if err != nil {
			return provisionError(err, c)
		}
		setup.API = api
		setup.Env.Cluster = cluster
	}
	if err := prepareAddons(&setup, plan, cluster, f, c); err != nil {
		return provisionError(err, c)
	}
	if takesKind(plan, "microvm") {
		setup.Env.MicroVM = prepareMicroVM(ctx, c)
	}
	if takesKind(plan, "docker") {
		place, done := prepareDocker(ctx, f.docker, f.keepDocker, c)
		defer func() { err = errors.Join(err, provisionError(done(), c)) }()
		setup.Env.Docker = place
	}
	r, err := verify.Run(ctx, plan, setup)
	var problems lab.Problems
	switch {
	case errors.As(err, &problems):
		return err
	case err != nil:
		return provisionError(err, c)
	}
	if err := keepLast(f.last, r); err != nil {
		c.Info("The result can't be kept for --failed-only: %v", err)
	}
	if err := f.write(g, r); err != nil {
		return err
	}
	if r.Interrupted {
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return withCode(exitDiffers, cause) // --timeout: not everything was decided
		}
		return context.Canceled
	}
	if r.ExitCode() != exitOK {
		return errDiffers
	}
	return nil
}

// write writes the report to stdout, and JUnit to its file.
func (f *verifyFlags) write(g *global, r result.Result) error {
	b, err := report.Write(f.format, r, f.options(g))
	if err != nil {
		return err
	}
	if _, err := g.out.Write(b); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if f.junit == "" {
		return nil
	}
	b, err = report.JUnit(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.junit, b, 0o644); err != nil {
		return fmt.Errorf("write the JUnit report: %w", err)
	}
	return nil
}

// takesKind says whether the plan takes in a probe of the family.
func takesKind(p verify.Plan, kind string) bool {
	for _, l := range p.Labs {
		for _, c := range l.Spec.Claims {
			if p.Takes(&c) && slices.ContainsFunc(c.Probes, func(p lab.Probe) bool { return p.Kind == kind }) {
				return true
			}
		}
	}
	return false
}

// prepareMicroVM makes what microVMs boot from. Where that can't be had the
// run goes on without: its claims are then untestable, and the log says why.
func prepareMicroVM(ctx context.Context, log progress.Log) *probe.MicroVM {
	vm, err := lifecycle.MicroVM(ctx, "", log)
	if err != nil {
		log.Info("No microVM on this machine: %s", firstLine(err))
		return nil
	}
	return vm
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
