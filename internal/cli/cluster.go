package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/provision/engine"
	"github.com/isolation-stack/labctl/pkg/provision/k3s"
	"github.com/isolation-stack/labctl/pkg/provision/kubeconfig"
	"github.com/isolation-stack/labctl/pkg/provision/kubecontext"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

// defaultName is the name of the cluster where none is given.
const defaultName = "labctl"

// clusterFlags are the flags of every command that works with a cluster.
type clusterFlags struct {
	provider   string
	name       string
	kubeconfig string
	engine     string
	service    string
	there      kubeconfig.Options
}

func (f *clusterFlags) register(cmd *cobra.Command) {
	registerProvider(cmd, &f.provider)
	cmd.Flags().StringVar(&f.name, "name", fromEnvironment("name", defaultName), "name of the cluster; several can stand side by side; the variable "+variable("name")+" sets the default")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file that gets the cluster's context, or has it (default: as kubectl)")
	cmd.Flags().StringVar(&f.engine, "engine", fromEnvironment("engine", ""), "container engine: "+strings.Join(engine.Names(), ", ")+" (default: the first that starts a privileged container)")
	cmd.Flags().StringVar(&f.service, "k3s-service", "", "name of K3s's service (default k3s)")
	cmd.Flags().StringVar(&f.there.Context, "context", "", "context of the kubeconfig whose cluster to use (default: the one that up used, or the current one)")
	cmd.Flags().StringVar(&f.there.Registry, "registry", "", "HOST/PATH that labprobe's images are pushed to and the nodes pull them from (default: loaded into the nodes, where they are this machine)")
	must(cmd.RegisterFlagCompletionFunc("engine", cobra.FixedCompletions(engine.Names(), cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("context", f.completeContext))
	must(cmd.RegisterFlagCompletionFunc("k3s-service", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("registry", cobra.NoFileCompletions))
}

// completeContext offers the contexts of the kubeconfig.
func (f *clusterFlags) completeContext(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	config, err := clientcmd.LoadFromFile(kubecontext.At(f.kubeconfig).Path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(config.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func (f *clusterFlags) options() lifecycle.Options {
	o := lifecycle.Options{
		Provider:   f.provider,
		StateDir:   stateDir(),
		Engine:     engine.Options{Name: f.engine},
		K3s:        k3s.Options{Service: f.service},
		Kubeconfig: f.there,
	}
	o.Kubeconfig.Path = f.kubeconfig
	return o
}

// command is a command line of labctl for the same cluster, to tell people.
func (f *clusterFlags) command(name string) string {
	line := "labctl " + name
	if f.provider != lifecycle.Kind {
		line += " --provider " + f.provider
	}
	if f.name != defaultName {
		line += " --name " + f.name
	}
	return line
}

// upFlags are the flags that say what cluster to make.
type upFlags struct {
	clusterFlags
	workers       int
	image         nodeimage.Options
	source        string
	apiServerPort int32
	k3s           k3s.Options
	classes       map[string]string
}

func (f *upFlags) register(cmd *cobra.Command) {
	f.clusterFlags.register(cmd)
	sources := []string{string(nodeimage.Auto), string(nodeimage.Registry), string(nodeimage.Debian)}
	flags := cmd.Flags()
	flags.StringToStringVar(&f.classes, "runtime-class", nil, "name of a runtime's RuntimeClass, as gvisor=my-gvisor; repeatable")
	flags.IntVar(&f.workers, "workers", 0, "worker nodes beside the one control plane")
	flags.StringVar(&f.source, "node-image-source", string(nodeimage.Auto), "where the node image's base comes from: "+strings.Join(sources, ", "))
	flags.StringVar(&f.image.BaseImage, "base-image", "", "image to pull as the base (default: kind's own, by digest)")
	flags.Int32Var(&f.apiServerPort, "api-server-port", 0, "port of the API server on 127.0.0.1 (default: a free one)")
	flags.StringVar(&f.image.DebianMirror, "debian-mirror", "", "URI of a Debian archive (default: from this machine's apt configuration)")
	flags.StringVar(&f.image.GVisorDir, "gvisor", "", "folder with a gVisor release: runsc, containerd-shim-runsc-v1 and their .sha512 (default: built from Debian's source)")
	flags.StringVar(&f.k3s.Installer, "installer", "", "K3s's install script, a file or an address (default: the project's own address)")
	flags.StringVar(&f.k3s.InstallerSHA256, "installer-sha256", "", "SHA-256 that the install script must have, in hex")
	flags.StringVar(&f.k3s.Binary, "k3s-binary", "", "K3s's program, a file; nothing is then downloaded in its place")
	flags.StringVar(&f.k3s.BinarySHA256, "k3s-binary-sha256", "", "SHA-256 that the program must have, in hex")
	flags.StringVar(&f.k3s.Version, "k3s-version", "", "release of K3s to install, as v1.34.4+k3s1")
	flags.StringVar(&f.k3s.Channel, "k3s-channel", "", "channel whose release of K3s to install (default: stable)")
	flags.StringVar(&f.k3s.Airgap, "airgap", "", "folder made by labctl bundle k3s: everything comes from there, no network is used")
	flags.StringVar(&f.k3s.RuntimeFiles, "runtime-files", "", "folder with the runtimes' programs and SHA256SUMS, in place of packages")
	must(cmd.RegisterFlagCompletionFunc("node-image-source", cobra.FixedCompletions(sources, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("k3s-channel", cobra.FixedCompletions([]string{"stable", "latest", "testing"}, cobra.ShellCompDirectiveNoFileComp)))
	for _, dir := range []string{"gvisor", "airgap", "runtime-files"} {
		must(cmd.MarkFlagDirname(dir))
	}
	cmd.MarkFlagsMutuallyExclusive("k3s-version", "k3s-channel", "k3s-binary", "airgap")
	cmd.MarkFlagsMutuallyExclusive("installer", "airgap")
	cmd.MarkFlagsMutuallyExclusive("runtime-files", "airgap")
}

func (f *upFlags) options() lifecycle.Options {
	o := f.clusterFlags.options()
	o.NodeImage, o.APIServerPort = f.image, f.apiServerPort
	o.NodeImage.Source = nodeimage.Source(f.source)
	o.K3s = f.k3s
	o.K3s.Service = f.service
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
	return withCode(provisionCode(err), fmt.Errorf("%w\nThe full log: %s", err, c.Path()))
}

// provisionCode is the exit code of an error of provisioning.
func provisionCode(err error) int {
	var refusal *engine.Refusal
	if errors.As(err, &refusal) {
		return exitPrerequisites
	}
	return exitProvision
}

// must ends labctl for mistakes in its own code that every run would show.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
