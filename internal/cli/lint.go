package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision/addon"
	"github.com/isolation-stack/labctl/pkg/verify"
)

func newLintCommand(g *global) *cobra.Command {
	var (
		c    catalogue
		docs string
	)
	cmd := &cobra.Command{
		Use:   "lint [LAB.YAML…]",
		Short: "Find the mistakes in lab specs without running anything",
		Long: `Find the mistakes in lab specs: unknown and missing fields, wrong types,
expressions that don't compile or give no bool, unknown probes and values.
Each is named with file, line, column and field. With --docs, the source of
each claim is checked against the documents.`,
		Example: `  labctl lint
  labctl lint --docs ../docs
  labctl lint --catalogue . labs/mine/lab.yaml`,
		RunE: func(_ *cobra.Command, args []string) error {
			against := lab.Against{Schema: verify.Schema(kinds()), Applied: verify.Applied(kinds()), Manifests: c.manifests(), Condition: guide.Compile, Addons: addon.Names(addon.Table())}
			if docs != "" {
				if _, err := os.Stat(docs); err != nil {
					return fmt.Errorf("--docs: %w", err)
				}
				against.Docs = os.DirFS(docs)
			}
			problems := lint(c.labs(), args, against)
			for _, p := range problems {
				fmt.Fprintln(g.out, p)
			}
			if n := len(problems); n > 0 {
				return withCode(exitUsage, fmt.Errorf("%d %s in lab specs", n, plural(n, "mistake")))
			}
			fmt.Fprintln(g.err, "no mistakes found")
			return nil
		},
	}
	c.register(cmd)
	cmd.Flags().StringVar(&docs, "docs", "", "folder that documents' paths are relative to")
	return cmd
}

// lint checks the files, or the whole catalogue where none is named.
func lint(catalogue fs.FS, files []string, against lab.Against) lab.Problems {
	if len(files) == 0 {
		return lab.Lint(catalogue, against)
	}
	var problems lab.Problems
	var labs []*lab.Lab
	for _, f := range files {
		l, p := lab.Load(osFiles{}, f)
		problems = append(problems, p...)
		if l != nil {
			problems = append(problems, l.Lint(against)...)
			labs = append(labs, l)
		}
	}
	return append(problems, lab.Unique(labs)...)
}

// osFiles opens any path of the machine, as a person types it: fs.FS proper
// knows neither .. nor absolute paths.
type osFiles struct{}

func (osFiles) Open(name string) (fs.File, error) {
	f, err := os.Open(name)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			return nil, p
		}
		return nil, err
	}
	return f, nil
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
