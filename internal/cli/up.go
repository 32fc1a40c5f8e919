package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

func newUpCommand(g *global) *cobra.Command {
	var (
		f      upFlags
		dryRun bool
		format string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring up a cluster with runc, gVisor and WasmEdge as runtime classes",
		Long: `Bring up a cluster whose nodes have runc, gVisor and WasmEdge as runtime
classes. It ends when a Pod of each class has proved what it runs on. Run it
again after an interruption: it goes on where it was.

The provider says what the cluster is: kind makes nodes that are containers,
k3s makes this machine a K3s node or uses the K3s that is there, kubeconfig
uses the cluster of a context as it is. With the last two, --dry-run prints
what up would do and changes nothing.`,
		Example: `  labctl up
  labctl up --workers 1 --name class-a
  labctl up --engine docker --node-image-source registry
  labctl up --runtime-class gvisor=sandboxed
  labctl up --provider k3s --dry-run
  labctl up --provider k3s --airgap /media/usb/labctl-k3s
  labctl up --provider k3s --installer ./install.sh --k3s-binary ./k3s
  labctl up --provider kubeconfig --context edge --registry registry.example/labs`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf(map[string]allowed{"output": {format, planFormats}}); err != nil {
				return err
			}
			if cmd.Flags().Changed("output") && !dryRun {
				return errors.New("--output is for what --dry-run prints")
			}
			c, err := newConsole(g, "up")
			if err != nil {
				return err
			}
			defer c.Close()
			if dryRun {
				return printPlan(cmd.Context(), g, c, f, format)
			}
			_, err = runUp(cmd.Context(), c, f)
			return err
		},
	}
	f.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what up would do (files, packages, units, objects) and change nothing")
	cmd.Flags().StringVarP(&format, "output", "o", planFormats[0], "format of --dry-run: "+joinOr(planFormats))
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(planFormats, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

// planFormats are how --dry-run prints.
var planFormats = []string{"text", "json", "yaml"}

// printPlan prints what up would do.
func printPlan(ctx context.Context, g *global, c *console, f upFlags, format string) error {
	spec, err := f.spec()
	if err != nil {
		return err
	}
	labs, err := newLabs(f.options())
	if err != nil {
		return err
	}
	plan, err := labs.Plan(ctx, spec)
	if err != nil {
		return provisionError(err, c)
	}
	if format != "text" {
		return print(g, format, plan)
	}
	text := strings.TrimRight(plan.String(), "\n") + "\n"
	if _, err := io.WriteString(g.out, text); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	return nil
}

func runUp(ctx context.Context, c *console, f upFlags) (provision.Cluster, error) {
	spec, err := f.spec()
	if err != nil {
		return nil, err
	}
	labs, err := newLabs(f.options())
	if err != nil {
		return nil, err
	}
	start := time.Now()
	cluster, err := labs.Up(ctx, spec, c)
	if err != nil {
		return nil, provisionError(prerequisites(ctx, c, f, err), c)
	}
	var classes []string
	for _, r := range runtimes.Names {
		classes = append(classes, spec.RuntimeClasses[r])
	}
	c.Info("Cluster %s is up with the runtime classes %s (%s). Try: kubectl --context %s get nodes", spec.Name, strings.Join(classes, ", "), elapsed(start), cluster.KubeContext())
	return cluster, nil
}

func newDownCommand(g *global) *cobra.Command {
	var f clusterFlags
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove a cluster that labctl made, and nothing else",
		Long: `Remove what up made. With kind: containers, volumes, network and kubeconfig
entries. With k3s: what labctl put on this machine; K3s itself only if labctl
installed it. With kubeconfig: labctl's objects in the cluster. Node images and
the cache stay, so that the next up starts at once; the README says how to
remove those.`,
		Example: `  labctl down
  labctl down --name class-a
  labctl down --provider k3s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newConsole(g, "down")
			if err != nil {
				return err
			}
			defer c.Close()
			return runDown(cmd.Context(), c, f)
		},
	}
	f.register(cmd)
	return cmd
}

func runDown(ctx context.Context, c *console, f clusterFlags) error {
	labs, err := newLabs(f.options())
	if err != nil {
		return err
	}
	err = errors.Join(labs.Down(ctx, f.name, c), lifecycle.DownDocker(ctx, f.docker(), c))
	return provisionError(err, c)
}
