package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/validate"
	"github.com/isolation-stack/labctl/pkg/lab"
)

func newDocsRules(g *global) *cobra.Command {
	var (
		format  string
		formats = []string{"text", "json"}
	)
	cmd := &cobra.Command{
		Use:   "rules [RULE…]",
		Short: "List the rules that examples are judged by, or explain some",
		Example: `  labctl docs rules
  labctl docs rules api-rejected missing-separator`,
		ValidArgs: ruleIDs(),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := oneOf(map[string]allowed{"output": {format, formats}}); err != nil {
				return err
			}
			rules, err := chooseRules(args)
			if err != nil {
				return err
			}
			if format == "json" {
				return print(g, "json", rules)
			}
			return writeRules(g.out, rules, len(args) > 0)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "format: "+joinOr(formats))
	must(cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

func ruleIDs() []string {
	var ids []string
	for _, r := range validate.Rules() {
		ids = append(ids, r.ID)
	}
	return ids
}

// chooseRules are the rules that are named, or all.
func chooseRules(ids []string) ([]docs.Rule, error) {
	if len(ids) == 0 {
		return validate.Rules(), nil
	}
	byID := map[string]docs.Rule{}
	for _, r := range validate.Rules() {
		byID[r.ID] = r
	}
	var chosen []docs.Rule
	for _, id := range ids {
		r, ok := byID[id]
		if !ok {
			return nil, fmt.Errorf("unknown rule %q; %s", id, lab.Suggest(id, ruleIDs()))
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}

// writeRules is a line a rule; help is what it means as well.
func writeRules(w io.Writer, rules []docs.Rule, help bool) error {
	width := 0
	for _, r := range rules {
		width = max(width, len(r.ID))
	}
	var b strings.Builder
	for i, r := range rules {
		if help && i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%-*s  %-7s  %s\n", width, r.ID, r.Severity, r.Title)
		if help {
			fmt.Fprintf(&b, "\n%s\n", r.Help)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
