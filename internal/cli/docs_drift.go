package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/docs/drift"
	"github.com/isolation-stack/labctl/pkg/docs/report"
	"github.com/isolation-stack/labctl/pkg/lab"
)

func newDocsDrift(g *global) *cobra.Command {
	var (
		c       catalogue
		docs    string
		format  string
		fix     bool
		formats = []string{"text", "json", "github"}
	)
	cmd := &cobra.Command{
		Use:   "drift --docs DIR",
		Short: "Compare the texts that labs are tied to with the documents",
		Long: `Compare the text that each claim and each example of each lab is tied to with
the documents as they are now. A text is unchanged, moved (it is found again by
its digest, under its heading), changed, or gone.

Exit codes: 0 if no text changed and none is gone, 1 if one did, 2 for wrong usage.`,
		Example: `  labctl docs drift --docs ../docs
  labctl docs drift --docs ../docs -o github
  labctl docs drift --docs ../docs --catalogue . --fix`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := oneOf(map[string]allowed{"output": {format, formats}}); err != nil {
				return err
			}
			if fix && c.dir == "" {
				return errors.New("--fix writes the labs of a folder; name it by --catalogue")
			}
			if info, err := os.Stat(docs); err != nil {
				return fmt.Errorf("--docs: %w", err)
			} else if !info.IsDir() {
				return fmt.Errorf("--docs: %s is no folder", docs)
			}
			labs, err := c.load(nil, true)
			if err != nil {
				return err
			}
			r, err := drift.Check(labs, os.DirFS(docs), docs)
			if err != nil {
				return err
			}
			if err := writeDrift(g, format, r); err != nil {
				return err
			}
			if fix {
				if err := fixDrift(g, filepath.Join(c.dir, "labs"), labs, r); err != nil {
					return err
				}
			}
			if !r.OK() {
				return exitWith(exitDiffers)
			}
			return nil
		},
	}
	c.register(cmd)
	cmd.Flags().StringVar(&docs, "docs", "", "folder that documents' paths are relative to")
	cmd.Flags().StringVarP(&format, "output", "o", "text", "format: "+joinOr(formats))
	cmd.Flags().BoolVar(&fix, "fix", false, "write the new lines of texts that moved into the lab.yaml files of --catalogue")
	must(cmd.MarkFlagRequired("docs"))
	must(cmd.MarkFlagDirname("docs"))
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func writeDrift(g *global, format string, r drift.Report) error {
	switch format {
	case "json":
		return print(g, "json", r)
	case "github":
		return report.Write(g.out, "github", r.Findings(version()), fromRoot(r.Root))
	}
	o := fromRoot(r.Root)
	o.Color = isTerminal(g.out)
	if err := report.Findings(g.out, r.Findings(version()), o); err != nil {
		return err
	}
	_, err := fmt.Fprintf(g.out, "%d %s of labs: %d unchanged, %d moved, %d changed, %d gone\n", len(r.Ties), plural(len(r.Ties), "text"),
		r.Counts[lab.Unchanged], r.Counts[lab.Moved], r.Counts[lab.Changed], r.Counts[lab.Gone])
	return err
}

// fixDrift writes the new lines into the labs' files.
func fixDrift(g *global, dir string, labs []*lab.Lab, r drift.Report) error {
	for _, l := range labs {
		path := filepath.Join(dir, filepath.FromSlash(l.File()))
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("--fix: %w", err)
		}
		fixed, n, err := drift.Fix(l.File(), text, r.Ties)
		if err != nil {
			return fmt.Errorf("--fix: %w", err)
		}
		if n == 0 {
			continue
		}
		if err := renameio.WriteFile(path, fixed, 0o644, renameio.WithExistingPermissions()); err != nil {
			return fmt.Errorf("--fix: %w", err)
		}
		fmt.Fprintf(g.err, "%s: %d %s fixed\n", path, n, plural(n, "line"))
	}
	return nil
}
