package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// clusterFlags are the flags of every command that works with a cluster.
type clusterFlags struct {
	name       string
	kubeconfig string
	engine     string
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "name", "labctl", "name of the cluster; several can stand side by side")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file that gets the cluster's context (default: as kubectl)")
	cmd.Flags().StringVar(&f.engine, "engine", "", "container engine: "+strings.Join(engine.Names(), ", ")+" (default: the first that starts a privileged container)")
	must(cmd.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions(engine.Names(), cobra.ShellCompDirectiveNoFileComp)))
}

func (f *clusterFlags) options() lifecycle.Options {
	return lifecycle.Options{Engine: engine.Options{Name: f.engine, StateDir: stateDir()}}
}

// upFlags are the flags that say what cluster to make.
type upFlags struct {
	clusterFlags
	workers       int
	image         nodeimage.Options
	source        string
	apiServerPort int32
	classes       map[string]string
}

func (f *upFlags) register(cmd *cobra.Command) {
	f.clusterFlags.register(cmd)
	sources := []string{string(nodeimage.Auto), string(nodeimage.Registry), string(nodeimage.Debian)}
	cmd.Flags().IntVar(&f.workers, "workers", 0, "worker nodes beside the one control plane")
	cmd.Flags().StringVar(&f.source, "node-image-source", string(nodeimage.Auto), "where the node image's base comes from: "+strings.Join(sources, ", "))
	cmd.Flags().StringVar(&f.image.BaseImage, "base-image", "", "image to pull as the base (default: kind's own, by digest)")
	cmd.Flags().StringVar(&f.image.DebianMirror, "debian-mirror", "", "URI of a Debian archive (default: from this machine's apt configuration)")
	cmd.Flags().StringVar(&f.image.GVisorDir, "gvisor", "", "folder with a gVisor release: runsc, containerd-shim-runsc-v1 and their .sha512 (default: built from Debian's source)")
	cmd.Flags().Int32Var(&f.apiServerPort, "api-server-port", 0, "port of the API server on 127.0.0.1 (default: a free one)")
	cmd.Flags().StringToStringVar(&f.classes, "runtime-class", nil, "name of a runtime's RuntimeClass, as gvisor=my-gvisor; repeatable")
	must(cmd.RegisterFlagCompletionFunc("node-image-source", cobra.FixedCompletions(sources, cobra.ShellCompDirectiveNoFileComp)))
}

func (f *upFlags) options() lifecycle.Options {
	o := f.clusterFlags.options()
	o.NodeImage, o.APIServerPort = f.image, f.apiServerPort
	o.NodeImage.Source = nodeimage.Source(f.source)
	return o
}

func (f *upFlags) spec() (provision.ClusterSpec, error) {
	classes := map[string]string{}
	for _, r := range runtimes.Names {
		classes[r] = r
	}
	for r, name := range f.classes {
		if !slices.Contains(runtimes.Names, r) {
			return provision.ClusterSpec{}, fmt.Errorf("--runtime-class names the runtime %q; known: %s", r, strings.Join(runtimes.Names, ", "))
		}
		classes[r] = name
	}
	names := slices.Sorted(maps.Values(classes))
	if len(slices.Compact(names)) != len(classes) {
		return provision.ClusterSpec{}, errors.New("--runtime-class gives two runtimes one name")
	}
	if f.workers < 0 {
		return provision.ClusterSpec{}, fmt.Errorf("--workers is %d; it can't be negative", f.workers)
	}
	return provision.ClusterSpec{Name: f.name, Workers: f.workers, Kubeconfig: f.kubeconfig, RuntimeClasses: classes}, nil
}

// newLabs makes the provisioner; a labctl without its payload lacks a
// prerequisite.
func newLabs(o lifecycle.Options) (*lifecycle.Labs, error) {
	l, err := lifecycle.New(o)
	if errors.Is(err, payload.ErrMissing) {
		return nil, withCode(exitPrerequisites, err)
	}
	return l, withCode(exitProvision, err)
}

// provisionError gives errors of provisioning their exit code, and says where
// the full log is.
func provisionError(err error, c *console) error {
	if err == nil {
		return nil
	}
	code := exitProvision
	var refusal *engine.Refusal
	if errors.As(err, &refusal) {
		code = exitPrerequisites
	}
	return withCode(code, fmt.Errorf("%w\nThe full log: %s", err, c.Path()))
}

// must ends labctl for mistakes in its own code that every run would show.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
