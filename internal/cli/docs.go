package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/report"
)

func newDocsCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "docs",
		Short: "Find what is wrong with the examples in Markdown documents",
		Long: `Find every example in Markdown documents, judge it, and name file, line and
column of what is wrong. Nothing of a document is ever executed.`,
		Example: `  labctl docs validate docs/
  labctl docs scan docs/
  labctl docs drift --docs docs/
  labctl docs rules`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDocsValidate(g), newDocsScan(g), newDocsDrift(g), newDocsRules(g))
	return cmd
}

// endings say which report a file gets by its name.
var endings = map[string]string{".txt": "text", ".json": "json", ".xml": "junit", ".sarif": "sarif"}

// reportFlags say where findings go.
type reportFlags struct {
	format string
	files  []string
}

func (f *reportFlags) register(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringVarP(&f.format, "output", "o", "text", "format: "+joinOr(formats))
	cmd.Flags().StringArrayVar(&f.files, "output-file", nil, "also write a report to this file, its ending says which: .txt, .json, .xml (JUnit) or .sarif; repeatable")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
}

func (f *reportFlags) check(formats ...string) error {
	for _, file := range f.files {
		if endings[filepath.Ext(file)] == "" {
			return fmt.Errorf("--output-file is %q; its name ends in .txt, .json, .xml (JUnit) or .sarif", file)
		}
	}
	return oneOf(map[string]allowed{"output": {f.format, formats}})
}

// write writes the report to stdout and to the files, each whole or not at all.
func (f *reportFlags) write(g *global, r docs.Report, o report.Options) error {
	for _, file := range f.files {
		t, err := renameio.NewPendingFile(file, renameio.WithPermissions(0o644))
		if err != nil {
			return fmt.Errorf("--output-file: %w", err)
		}
		err = report.Write(t, endings[filepath.Ext(file)], r, o)
		if err == nil {
			err = t.CloseAtomicallyReplace()
		}
		if err := errors.Join(err, t.Cleanup()); err != nil {
			return fmt.Errorf("--output-file: %w", err)
		}
	}
	o.Color = isTerminal(g.out)
	return report.Write(g.out, f.format, r, o)
}

// maxShown is how much of a document is read for the lines that text shows.
const maxShown = 16 << 20

// fromRoot are the options of a report about documents below a folder: paths
// are as they are opened from here, lines are read there.
func fromRoot(root string) report.Options {
	return report.Options{
		Prefix: fromHere(root),
		Source: func(path string) ([]byte, error) {
			file, err := os.Open(filepath.Join(root, filepath.FromSlash(path)))
			if err != nil {
				return nil, err
			}
			defer func() { _ = file.Close() }() // only read
			return io.ReadAll(io.LimitReader(file, maxShown))
		},
	}
}

// fromHere is a folder relative to the current one where that goes down, with
// slashes.
func fromHere(root string) string {
	here, err := os.Getwd()
	if err != nil {
		return filepath.ToSlash(root)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		return filepath.ToSlash(root)
	}
	relative, err := filepath.Rel(here, absolute)
	if err != nil || !filepath.IsLocal(relative) {
		return strings.TrimSuffix(filepath.ToSlash(root), "/")
	}
	return filepath.ToSlash(relative)
}
