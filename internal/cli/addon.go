package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/addon"
	"github.com/isolation-stack/labctl/pkg/verify"
)

func newAddonCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "addon",
		Short: "Bring what some claims need beside a plain cluster up and down",
		Long: `Add-ons are components that some claims need beside a plain cluster: metrics, a
policy engine, snapshots. They are pinned, built without a container engine,
proved ready, and removed without a rest. A run brings those up that its labs
name, and takes them down at its end; one that was brought up here stays.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAddonListCommand(g), newAddonUpCommand(g), newAddonDownCommand(g))
	return cmd
}

func newAddonListCommand(g *global) *cobra.Command {
	var (
		f       clusterFlags
		o       outputFlags
		formats = []string{"table", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the add-ons, and which are up",
		Example: `  labctl addon list
  labctl addon list -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(formats...); err != nil {
				return err
			}
			c, err := newConsole(g, "addon")
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := addonList(cmd.Context(), c, f)
			if err != nil {
				return provisionError(err, c)
			}
			if o.format != "table" {
				return print(g, o.format, list)
			}
			return writeAddons(g, list)
		},
	}
	f.register(cmd)
	o.register(cmd, formats...)
	return cmd
}

// addonList is the table alone where the cluster isn't up.
func addonList(ctx context.Context, c *console, f clusterFlags) ([]addon.Status, error) {
	set, err := addonsOf(ctx, c, f)
	if errors.Is(err, provision.ErrNotFound) {
		c.Info("Cluster %s is not up: what add-ons there are", f.name)
		return lifecycle.DescribeAddons()
	}
	if err != nil {
		return nil, err
	}
	return set.List(ctx)
}

func writeAddons(g *global, list []addon.Status) error {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tVERSION\tWHAT FOR")
	for _, a := range list {
		state := string(a.State)
		if state == "" {
			state = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", a.Name, state, a.Version, a.Doc)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := g.out.Write(b.Bytes())
	return err
}

// addonsOf are the add-ons of the cluster that the flags name.
func addonsOf(ctx context.Context, c *console, f clusterFlags) (*addon.Set, error) {
	labs, err := newLabs(f.options())
	if err != nil {
		return nil, err
	}
	cluster, err := labs.Get(ctx, f.name)
	if err != nil {
		if errors.Is(err, provision.ErrNotFound) {
			err = fmt.Errorf("%w: %s; bring it up with: %s", provision.ErrNotFound, f.name, f.command("up"))
		}
		return nil, err
	}
	return lifecycle.Addons(cluster, c)
}

func newAddonUpCommand(g *global) *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "up ADDON…",
		Short: "Bring add-ons up and prove them ready",
		Long: `Build what the cache doesn't have, load it into the nodes, apply the manifests
and wait until each add-on does what it is for. Run it again after an
interruption: it goes on where it was. They stay until addon down.`,
		Example: `  labctl addon up metrics-server
  labctl addon up gatekeeper kwok --name class-a`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeAddons,
		RunE: func(cmd *cobra.Command, names []string) error {
			return eachAddon(cmd.Context(), g, f, names, func(s *addon.Set, name string) error {
				return s.Keep(cmd.Context(), name)
			})
		},
	}
	f.register(cmd)
	return cmd
}

func newAddonDownCommand(g *global) *cobra.Command {
	var (
		f   clusterFlags
		all bool
	)
	cmd := &cobra.Command{
		Use:   "down ADDON…",
		Short: "Remove add-ons that labctl brought up, and nothing else",
		Long: `Remove every object of the add-ons, in all namespaces and cluster-wide. Their
images stay in the nodes, so that the next up starts at once.`,
		Example: `  labctl addon down metrics-server
  labctl addon down --all`,
		ValidArgsFunction: completeAddons,
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return errors.New("name add-ons, or --all")
			}
			if !all {
				return eachAddon(cmd.Context(), g, f, names, func(s *addon.Set, name string) error {
					return s.Remove(cmd.Context(), name)
				})
			}
			return eachAddon(cmd.Context(), g, f, addon.Names(addon.Table()), func(s *addon.Set, name string) error {
				return s.RemoveIfOurs(cmd.Context(), name)
			})
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every add-on that labctl brought up")
	return cmd
}

func eachAddon(ctx context.Context, g *global, f clusterFlags, names []string, do func(*addon.Set, string) error) error {
	if err := knownAddons(names); err != nil {
		return err
	}
	c, err := newConsole(g, "addon")
	if err != nil {
		return err
	}
	defer c.Close()
	set, err := addonsOf(ctx, c, f)
	if err != nil {
		return provisionError(err, c)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, do(set, name))
	}
	return provisionError(errors.Join(errs...), c)
}

// knownAddons refuses names that the table doesn't have.
func knownAddons(names []string) error {
	known := addon.Names(addon.Table())
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("unknown add-on %q; there are: %s", name, joinOr(known))
		}
	}
	return nil
}

func completeAddons(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, a := range addon.Table() {
		out = append(out, a.Name+"\t"+a.Doc)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// keptAddons stay at the end of a run.
type keptAddons struct{ *addon.Set }

// Release implements verify.Addons.
func (k keptAddons) Release(ctx context.Context) error { return k.KeepHeld(ctx) }

// prepareAddons gives a run the add-ons of the cluster, if a claim that it
// takes in names one.
func prepareAddons(setup *verify.Setup, plan verify.Plan, cluster provision.Cluster, f verifyFlags, c *console) error {
	setup.LeaveOut = f.without
	if cluster == nil || !takesAddons(plan) {
		return nil
	}
	set, err := lifecycle.Addons(cluster, c)
	if err != nil {
		return err
	}
	setup.Addons = set
	if f.keepAddons {
		setup.Addons = keptAddons{set}
	}
	return nil
}

func takesAddons(p verify.Plan) bool {
	for _, l := range p.Labs {
		for _, c := range l.Spec.Claims {
			if len(c.Addons)+len(c.Without) > 0 && p.Takes(&c) {
				return true
			}
		}
	}
	return false
}
