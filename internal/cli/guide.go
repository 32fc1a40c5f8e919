package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/report"
)

func newGuideCommand(g *global) *cobra.Command {
	var (
		c catalogue
		f outputFlags
	)
	cmd := &cobra.Command{
		Use:   "guide LAB",
		Short: "Print a lab's guide: what it shows, what to type, what to look at",
		Example: `  labctl guide l-4-sandboxing
  labctl guide isolation-stack --lang zh -o markdown`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := f.check(report.GuideFormats...); err != nil {
				return err
			}
			l, err := c.one(args[0])
			if err != nil {
				return err
			}
			if len(l.Spec.Steps) == 0 {
				return fmt.Errorf("the lab %s has no steps for people; labctl show %s shows its claims", l.Metadata.Name, l.Metadata.Name)
			}
			b, err := report.Guide(f.format, l, f.options(g))
			if err != nil {
				return err
			}
			_, err = g.out.Write(b)
			return err
		},
	}
	c.register(cmd)
	f.register(cmd, report.GuideFormats...)
	return cmd
}
