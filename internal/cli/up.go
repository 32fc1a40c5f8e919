package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

func newUpCommand(g *global) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Bring up a cluster with runc, gVisor and WasmEdge as runtime classes",
		Long: `Bring up a kind cluster whose nodes have runc, gVisor and WasmEdge as runtime
classes. It ends when a Pod of each class has proved what it runs on. Run it
again after an interruption: it goes on where it was.`,
		Example: `  labctl up
  labctl up --workers 1 --name class-a
  labctl up --engine docker --node-image-source registry
  labctl up --runtime-class gvisor=sandboxed`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newConsole(g, "up")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = runUp(cmd.Context(), c, f)
			return err
		},
	}
	f.register(cmd)
	return cmd
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
		Long: `Remove a cluster that labctl made: its containers, volumes, network and
kubeconfig entries. Node images and the cache stay, so that the next up starts
at once; the README says how to remove those.`,
		Example: `  labctl down
  labctl down --name class-a`,
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
	if err := labs.Down(ctx, f.name, c); err != nil {
		return provisionError(err, c)
	}
	return nil
}
