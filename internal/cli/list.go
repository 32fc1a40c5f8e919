package cli

import (
	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/report"
)

// outputFlags say how a report looks.
type outputFlags struct {
	format, language string
}

func (f *outputFlags) register(cmd *cobra.Command, formats ...string) {
	cmd.Flags().StringVarP(&f.format, "output", "o", formats[0], "format: "+joinOr(formats))
	cmd.Flags().StringVar(&f.language, "lang", "en", "language of statements and reasons: en or zh")
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	must(cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "zh"}, cobra.ShellCompDirectiveNoFileComp)))
}

func (f *outputFlags) check(formats ...string) error {
	return oneOf(map[string]allowed{"output": {f.format, formats}, "lang": {f.language, []string{"en", "zh"}}})
}

func (f *outputFlags) options(g *global) report.Options {
	return report.Options{Language: report.Language(f.language), Color: isTerminal(g.out)}
}

func newListCommand(g *global) *cobra.Command {
	var (
		c       catalogue
		f       outputFlags
		formats = []string{"table", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the labs",
		Example: `  labctl list
  labctl list --lang zh -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := f.check(formats...); err != nil {
				return err
			}
			labs, err := c.load(nil, true)
			if err != nil {
				return err
			}
			if f.format != "table" {
				return print(g, f.format, labs)
			}
			_, err = g.out.Write(report.List(labs, f.options(g)))
			return err
		},
	}
	c.register(cmd)
	f.register(cmd, formats...)
	return cmd
}

func newShowCommand(g *global) *cobra.Command {
	var (
		c       catalogue
		f       outputFlags
		formats = []string{"table", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "show LAB",
		Short: "Show one lab: its claims, what is true instead of the refuted ones, its steps",
		Example: `  labctl show l-3-containerization
  labctl show isolation-stack --lang zh`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check(formats...); err != nil {
				return err
			}
			labs, err := c.load(args, false)
			if err != nil {
				return err
			}
			if f.format != "table" {
				return print(g, f.format, labs[0])
			}
			_, err = g.out.Write(report.Show(labs[0], f.options(g)))
			return err
		},
	}
	c.register(cmd)
	f.register(cmd, formats...)
	return cmd
}

// print writes a value as json or yaml to stdout.
func print(g *global, format string, value any) error {
	b, err := report.Data(format, value)
	if err != nil {
		return err
	}
	_, err = g.out.Write(b)
	return err
}
