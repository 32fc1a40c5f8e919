package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/guide"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/provision"
	"github.com/isolation-stack/labctl/pkg/report"
)

// one loads the lab of that name.
func (c *catalogue) one(name string) (*lab.Lab, error) {
	labs, err := c.load([]string{name}, false)
	if err != nil {
		return nil, err
	}
	return labs[0], nil
}

// stepOf checks that the lab has a step with that number.
func stepOf(l *lab.Lab, n int) error {
	switch count := len(l.Spec.Steps); {
	case count == 0:
		return fmt.Errorf("the lab %s has no steps for people", l.Metadata.Name)
	case n < 1 || n > count:
		return fmt.Errorf("--step is %d; the lab %s has the steps 1 to %d", n, l.Metadata.Name, count)
	}
	return nil
}

// progressReport is what labctl check prints for machines.
type progressReport struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Lab        string       `json:"lab"`
	Steps      []guide.Step `json:"steps"`
}

func newCheckCommand(g *global) *cobra.Command {
	var (
		cf      clusterFlags
		c       catalogue
		f       outputFlags
		step    int
		formats = []string{"text", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "check LAB",
		Short: "Say which steps of a lab are done, by the state of the cluster",
		Long: `Look at the cluster and say of each step of a lab's guide whether it is done,
with a hint where it isn't. What counts is the cluster's state, not what was
typed. Exit code 0 if no step is open, 1 otherwise.`,
		Example: `  labctl check l-4-sandboxing
  labctl check l-4-sandboxing --step 2 --lang zh
  labctl check l-4-sandboxing -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(formats...); err != nil {
				return err
			}
			l, err := c.one(args[0])
			if err != nil {
				return err
			}
			if err := stepOf(l, max(step, 1)); err != nil || step < 0 {
				return errors.Join(err, stepOf(l, step))
			}
			seen, err := lookAt(cmd.Context(), cf, l)
			if err != nil {
				return err
			}
			if step > 0 {
				seen = seen[step-1 : step]
			}
			if f.format == "text" {
				err = writeSteps(g.out, seen, f.options(g).Language)
			} else {
				err = print(g, f.format, progressReport{APIVersion: lab.APIVersion, Kind: "Progress", Lab: l.Metadata.Name, Steps: seen})
			}
			if err != nil {
				return err
			}
			if !guide.AllDone(seen) {
				return exitWith(exitDiffers)
			}
			return nil
		},
	}
	cf.register(cmd)
	c.register(cmd)
	f.register(cmd, formats...)
	cmd.Flags().IntVar(&step, "step", 0, "only this step")
	must(cmd.RegisterFlagCompletionFunc("step", c.completeStep))
	return cmd
}

// lookAt looks at all steps of a lab. Without a check there is no need of a
// cluster.
func lookAt(ctx context.Context, f clusterFlags, l *lab.Lab) ([]guide.Step, error) {
	var at guide.Looker
	steps := l.Spec.Steps
	if l.OnDocker() {
		at = &dockerLooker{options: f.docker()}
	} else if slices.ContainsFunc(l.Spec.Steps, func(s lab.Step) bool { return s.Check != nil }) {
		cluster, err := findCluster(ctx, f)
		if err != nil {
			return nil, err
		}
		if at, err = lookerOf(cluster); err != nil {
			return nil, err
		}
		if steps, err = guide.Fill(steps, cluster); err != nil {
			return nil, withCode(exitProvision, err)
		}
	}
	seen, err := guide.Look(ctx, steps, at)
	return seen, withCode(exitProvision, err)
}

func lookerOf(cluster provision.Cluster) (*guide.Cluster, error) {
	at, err := guide.New(cluster.RESTConfig())
	return at, withCode(exitProvision, err)
}

// writeSteps is a line a step, and the hints.
func writeSteps(w io.Writer, steps []guide.Step, language report.Language) error {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "%2d  %-8s  %s\n", s.Number, stateWord(s.State, language), text(s.Title, language))
		if s.Hint != nil {
			fmt.Fprintf(&b, "              %s\n", strings.Join(strings.Fields(text(*s.Hint, language)), " "))
		}
		if s.Because != "" {
			fmt.Fprintf(&b, "              (%s)\n", s.Because)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stateWord is a state in eight cells or less.
func stateWord(s guide.State, language report.Language) string {
	words := map[guide.State]lab.Text{
		guide.Done:      {EN: "done", ZH: "完成"},
		guide.Open:      {EN: "not yet", ZH: "未完成"},
		guide.Unchecked: {EN: "-", ZH: "-"},
	}
	return text(words[s], language)
}

func text(t lab.Text, language report.Language) string {
	if language == report.Chinese {
		return t.ZH
	}
	return t.EN
}

// completeStep offers the steps of the lab that is named.
func (c *catalogue) completeStep(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	l, err := c.one(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var steps []string
	for i, s := range l.Spec.Steps {
		steps = append(steps, fmt.Sprintf("%d\t%s", i+1, s.Title.EN))
	}
	return steps, cobra.ShellCompDirectiveNoFileComp
}
