package cli

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
)

func newManifestCommand(g *global) *cobra.Command {
	var (
		f clusterFlags
		c catalogue
	)
	cmd := &cobra.Command{
		Use:   "manifest NAME…",
		Short: "Print manifests of the labs, filled in for the cluster",
		Long: `Print manifests of the folder manifests/ with their ${…} filled in for the
cluster: ${NAMESPACE} is ` + lab.PeopleNamespace + `, ${IMAGE} labprobe's image, ${CLASS.gvisor} a RuntimeClass,
${NODE} the first node. Each object gets labctl's labels, so that labctl reset
finds it.`,
		Example: `  labctl manifest kubernetes/compute-resources.yaml
  labctl manifest kubernetes/compute-resources.yaml | kubectl apply -f -`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.completeManifest,
		RunE: func(cmd *cobra.Command, args []string) error {
			files := make([]string, len(args))
			for i, name := range args {
				b, err := fs.ReadFile(c.manifests(), name)
				if err != nil {
					return fmt.Errorf("no manifest %s; %s", name, lab.Suggest(name, beside(name, manifestNames(c.manifests()))))
				}
				files[i] = string(b)
			}
			cluster, err := findCluster(cmd.Context(), f)
			if err != nil {
				return err
			}
			for i, name := range args {
				b, err := guide.Manifest(files[i], cluster)
				if err != nil {
					return fmt.Errorf("manifest %s: %w", name, err)
				}
				if i > 0 {
					b = append([]byte("---\n"), b...)
				}
				if _, err := g.out.Write(b); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.register(cmd)
	c.register(cmd)
	return cmd
}

// beside are the names in the same folder; where there are none, the folders.
func beside(name string, names []string) []string {
	var same, folders []string
	for _, n := range names {
		if path.Dir(n) == path.Dir(name) {
			same = append(same, n)
		}
		folders = append(folders, path.Dir(n)+"/")
	}
	if len(same) > 0 {
		return same
	}
	return slices.Compact(folders)
}

func (c *catalogue) completeManifest(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return manifestNames(c.manifests()), cobra.ShellCompDirectiveNoFileComp
}

// manifestNames are the paths of all manifests.
func manifestNames(fsys fs.FS) []string {
	var names []string
	// A folder that can't be read has no names to offer.
	_ = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && path.Ext(name) == ".yaml" && !strings.HasPrefix(name, "addons/") {
			names = append(names, name)
		}
		return nil
	})
	return names
}
