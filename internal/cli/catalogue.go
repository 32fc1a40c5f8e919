package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/labs"
	"github.com/isolation-stack/labctl/manifests"
	"github.com/isolation-stack/labctl/pkg/lab"
)

// catalogue is where labs and their manifests come from: those that labctl
// carries, or a folder of the user's with labs/ and manifests/ in it.
type catalogue struct {
	dir string
}

func (c *catalogue) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.dir, "catalogue", fromEnvironment("catalogue", ""), "folder with labs/ and manifests/ of your own (default: those that labctl carries)")
}

func (c *catalogue) labs() fs.FS {
	if c.dir == "" {
		return labs.FS
	}
	return os.DirFS(filepath.Join(c.dir, "labs"))
}

func (c *catalogue) manifests() fs.FS {
	if c.dir == "" {
		return manifests.FS
	}
	return os.DirFS(filepath.Join(c.dir, "manifests"))
}

// load returns the labs that are named, or all of them.
func (c *catalogue) load(names []string, all bool) ([]*lab.Lab, error) {
	labs, problems := lab.Catalogue(c.labs())
	if err := problems.Err(); err != nil {
		return nil, err
	}
	known := make([]string, len(labs))
	for i, l := range labs {
		known[i] = l.Metadata.Name
	}
	switch {
	case all && len(names) > 0:
		return nil, errors.New("labs are named and --all is given; choose one")
	case all:
		return labs, nil
	case len(names) == 0:
		return nil, fmt.Errorf("name a lab, or --all; there are: %s", strings.Join(known, ", "))
	}
	var chosen []*lab.Lab
	for _, n := range names {
		i := slices.Index(known, n)
		if i < 0 {
			return nil, fmt.Errorf("unknown lab %q; %s", n, lab.Suggest(n, known))
		}
		if !slices.Contains(chosen, labs[i]) {
			chosen = append(chosen, labs[i])
		}
	}
	return chosen, nil
}

// complete offers the labs' names to the shell.
func (c *catalogue) complete(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	labs, _ := lab.Catalogue(c.labs()) // a broken lab is no reason to offer none
	var names []string
	for _, l := range labs {
		names = append(names, l.Metadata.Name+"\t"+l.Spec.Title.EN)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
