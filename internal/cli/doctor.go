package cli

import (
	"bytes"
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isolation-stack/labctl/pkg/lifecycle"
	"github.com/isolation-stack/labctl/pkg/provision/doctor"
	"github.com/isolation-stack/labctl/pkg/provision/nodeimage"
)

func newDoctorCommand(g *global) *cobra.Command {
	var (
		f       upFlags
		o       outputFlags
		fix     bool
		formats = []string{"table", "json", "yaml"}
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine lacks for labs, and install it with --fix",
		Long: `Look at this machine and list everything that labs want and it lacks, with a
remedy each. With --fix, install missing packages with apt on Debian and
Ubuntu (as root, or through sudo without a password).

With --provider k3s it is what a K3s node takes: kernel, cgroups, ports, disk,
memory, clock, and what earlier installations left.`,
		Example: `  labctl doctor
  labctl doctor --fix
  labctl doctor --provider k3s
  labctl doctor -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(formats...); err != nil {
				return err
			}
			c, err := newConsole(g, "doctor")
			if err != nil {
				return err
			}
			defer c.Close()
			findings, err := diagnose(cmd.Context(), c, f, fix)
			if err != nil {
				return provisionError(err, c)
			}
			if err := writeFindings(g, o.format, findings); err != nil {
				return err
			}
			return withCode(exitPrerequisites, doctor.AsError(findings))
		},
	}
	f.register(cmd)
	o.register(cmd, formats...)
	cmd.Flags().BoolVar(&fix, "fix", false, "install what is missing")
	return cmd
}

// diagnose checks the machine and, with fix, mends it and checks again:
// what is reported is what is so now.
func diagnose(ctx context.Context, c *console, f upFlags, fix bool) ([]doctor.Finding, error) {
	check := checks[f.provider]
	findings, err := check(ctx, f, c)
	if err != nil || !fix || !fixable(findings) {
		return findings, err
	}
	if err := doctor.Fix(ctx, findings, c); err != nil {
		return nil, withCode(exitPrerequisites, err)
	}
	return check(ctx, f, c)
}

// checks are by provider what the flags of up ask of the machine.
var checks = map[string]func(ctx context.Context, f upFlags, c *console) ([]doctor.Finding, error){
	lifecycle.Kind: func(ctx context.Context, f upFlags, c *console) ([]doctor.Finding, error) {
		return doctor.Check(ctx, doctorOptions(f), c)
	},
	lifecycle.K3s: func(ctx context.Context, f upFlags, c *console) ([]doctor.Finding, error) {
		return doctor.CheckBox(ctx, doctor.BoxOptions{Service: f.service}, c)
	},
	// The nodes are elsewhere: what is left is what measures on this machine.
	lifecycle.Kubeconfig: func(ctx context.Context, _ upFlags, c *console) ([]doctor.Finding, error) {
		return doctor.Check(ctx, doctor.Options{NoCluster: true}, c)
	},
}

// doctorOptions are what kind's flags ask of the machine.
func doctorOptions(f upFlags) doctor.Options {
	o := doctor.Options{Engine: f.options().Engine, Source: f.source, BaseImage: f.image.BaseImage, APIServerPort: f.apiServerPort}
	if nodeimage.Source(f.source) == nodeimage.Auto {
		o.Source = ""
	}
	return o
}

func fixable(findings []doctor.Finding) bool {
	for _, f := range findings {
		if f.Fixable() {
			return true
		}
	}
	return false
}

func writeFindings(g *global, format string, findings []doctor.Finding) error {
	if format != "table" {
		return print(g, format, findings)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Level, f.ID, f.What)
		if f.Remedy != "" {
			fmt.Fprintf(w, "\t\t→ %s\n", f.Remedy)
		}
	}
	if len(findings) == 0 {
		fmt.Fprintln(w, "nothing is missing")
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := g.out.Write(b.Bytes())
	return err
}

// prerequisites adds to an error of provisioning what this machine lacks, so
// that a person sees every cause at once and not only the first symptom.
func prerequisites(ctx context.Context, c *console, f upFlags, err error) error {
	if ctx.Err() != nil {
		return err
	}
	findings, checkErr := checks[f.provider](ctx, f, c)
	if checkErr != nil {
		return err // the first error says more than a doctor that failed too
	}
	if missing := doctor.AsError(findings); missing != nil {
		return withCode(exitPrerequisites, fmt.Errorf("%w\n%w", err, missing))
	}
	return err
}
