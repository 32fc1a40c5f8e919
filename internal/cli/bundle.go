package cli

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/provision/artifact"
	"github.com/isolation-stack/labctl/pkg/provision/bundle"
	"github.com/isolation-stack/labctl/pkg/provision/installer"
	"github.com/isolation-stack/labctl/pkg/provision/runtimes"
)

func newBundleCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Make a folder from which a machine without a network becomes a node",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBundleK3sCommand(g))
	return cmd
}

func newBundleK3sCommand(g *global) *cobra.Command {
	var o bundle.Options
	cmd := &cobra.Command{
		Use:   "k3s --output DIR",
		Short: "Make a bundle of K3s and the runtimes, for labctl up --provider k3s --airgap",
		Long: `Make a folder with everything that labctl up --provider k3s --airgap DIR needs:
K3s's installer, its binary and images, the runtimes' Debian packages with what
they depend on, gVisor's shim, and bundle.yaml with the size and the SHA-256 of
each file. Where this machine can't reach K3s's releases, give its files. An
interrupted run goes on where it was when it is run again.`,
		Example: `  labctl bundle k3s --output box --installer install.sh --k3s-version v1.34.1+k3s1
  labctl bundle k3s --output box --installer install.sh --k3s-binary k3s --images k3s-airgap-images-amd64.tar.zst
  labctl up --provider k3s --airgap box     # on the box`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newConsole(g, "bundle")
			if err != nil {
				return err
			}
			defer c.Close()
			if o.Cache, err = artifact.Default(); err != nil {
				return withCode(exitProvision, err)
			}
			o.Packages = runtimes.Packages()
			return provisionError(bundle.Write(cmd.Context(), o, c), c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Output, "output", "", "folder to make, or a bundle to make anew")
	flags.StringVar(&o.Architecture, "arch", "", fmt.Sprintf("architecture of the box (default: this machine's, %s)", runtime.GOARCH))
	flags.StringVar(&o.Installer.Location, "installer", "", "K3s's install script, a file or an address (default: "+installer.PublicAddress+")")
	flags.StringVar(&o.Installer.SHA256, "installer-sha256", "", "SHA-256 of the install script; an address needs it")
	flags.StringVar(&o.Binary, "k3s-binary", "", "K3s binary (default: downloaded)")
	flags.StringVar(&o.BinarySHA256, "k3s-binary-sha256", "", "SHA-256 of that binary")
	flags.StringVar(&o.Version, "k3s-version", "", "release to download, such as v1.34.1+k3s1 (default: the channel's newest)")
	flags.StringVar(&o.Channel, "k3s-channel", "", "channel of releases (default: stable)")
	flags.StringArrayVar(&o.Images, "images", nil, "archive of images for K3s ("+strings.Join(bundle.ArchiveEndings(), ", ")+"); repeatable (default: the release's, downloaded)")
	flags.StringVar(&o.Suite, "suite", "", "Debian release of the box (default: trixie, whose crun has WasmEdge)")
	flags.StringVar(&o.DebianMirror, "debian-mirror", "", "URI of a Debian archive (default: from this machine's apt configuration)")
	flags.StringVar(&o.GVisorDir, "gvisor", "", "folder with a gVisor release: runsc, containerd-shim-runsc-v1 and their .sha512 (default: the shim built from Debian's source)")
	must(cmd.MarkFlagRequired("output"))
	return cmd
}
