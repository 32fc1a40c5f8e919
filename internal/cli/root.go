// Package cli is labctl's command line: one file a command. A command parses
// flags, calls one function and hands the result to a reporter. Data goes to
// stdout, status to stderr.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// interruptGrace is how long a command may take to end after Ctrl-C. It is
// below the 5 s that the README promises.
const interruptGrace = 4 * time.Second

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// global are the flags that every command has.
type global struct {
	streams
	verbose int
	timeout time.Duration
	cleanup context.CancelFunc // of the timeout's context
}

// Main runs labctl with the arguments (without the program's name) and
// returns the exit code.
func Main(args []string) int {
	g := &global{streams: streams{os.Stdin, os.Stdout, os.Stderr}, cleanup: func() {}}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer func() { g.cleanup() }()

	root := newRootCommand(g)
	root.SetArgs(args)
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()

	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		stop() // a second Ctrl-C ends labctl at once
		select {
		case err = <-done:
			// Whatever broke first, it broke because of the interruption.
			if err != nil {
				err = fmt.Errorf("%w: %w", context.Canceled, err)
			}
		case <-time.After(interruptGrace):
			err = context.Canceled
		}
	}
	if err != nil {
		printError(g.err, err)
	}
	return exitCode(err)
}

func printError(w io.Writer, err error) {
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "labctl: interrupted. Run the same command again to go on where it stopped, or \"labctl down\" to remove what there is.")
	case errors.Is(err, errNothingFailed):
		fmt.Fprintln(w, err)
	case errors.Is(err, errDiffers), errors.Is(err, errSaid):
		// The report has said it.
	default:
		fmt.Fprintln(w, "labctl:", err)
	}
}

func newRootCommand(g *global) *cobra.Command {
	root := &cobra.Command{
		Use:   "labctl",
		Short: "Turn technical documents into executable labs",
		Long: `labctl turns technical documents into executable labs: it brings up a cluster
with runc, gVisor and WasmEdge as runtime classes, applies the lab's manifests,
and runs probes that confirm or refute what the document says.

` + exitCodesHelp,
		Example: `  labctl run isolation-stack        # bring up, verify, report, take down
  labctl up && labctl verify --all  # keep the cluster between runs
  labctl list                       # the labs there are`,
		SilenceUsage:  true,
		SilenceErrors: true,
		// labctl without a command is a question, not an error.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: cobra.NoArgs,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if g.timeout > 0 {
				ctx, cancel := context.WithTimeoutCause(cmd.Context(), g.timeout, fmt.Errorf("not done within --timeout %v", g.timeout))
				g.cleanup = cancel
				cmd.SetContext(ctx)
			}
		},
	}
	root.SetIn(g.in)
	root.SetOut(g.out)
	root.SetErr(g.err)
	root.PersistentFlags().CountVarP(&g.verbose, "verbose", "v", "more status on stderr; repeat for the full output of every program that runs")
	root.PersistentFlags().DurationVar(&g.timeout, "timeout", 0, "give up after this long (0 means never)")
	root.AddCommand(
		newUpCommand(g), newDownCommand(g), newRunCommand(g), newVerifyCommand(g), newCompareCommand(g),
		newDockerCommand(g), newAddonCommand(g),
		newGuideCommand(g), newCheckCommand(g), newResetCommand(g), newShellCommand(g), newKubectlCommand(g), newManifestCommand(g),
		newListCommand(g), newShowCommand(g), newLintCommand(g), newDocsCommand(g),
		newBundleCommand(g), newCacheCommand(g), newDoctorCommand(g), newVersionCommand(g),
	)
	return root
}
