// Package labprobe is the program that probes run in places: on the host, on
// a node, inside Pods of each runtime class, in a microVM. It is built for
// linux and for wasip1; a command that a platform can't have is declared
// there too and answers that it is untestable.
package labprobe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// Command is one measurement that labprobe knows.
type Command struct {
	Name string
	// Usage are the arguments, Doc one line in English.
	Usage, Doc string
	// Outputs declares what Run may return, for the given arguments. It is
	// the same on every platform.
	Outputs func(args []string) ([]evidence.Output, error)
	// Exclusive says that the measurement wants the machine for itself.
	Exclusive bool
	// Run measures; nil where the platform can't have it.
	Run func(ctx context.Context, args []string) (evidence.Set, error)
	// code is the exit code of a run that measured; nil means 0.
	code func(evidence.Set) int
}

// Report is what labprobe prints: one line of JSON.
type Report struct {
	// Labprobe is the format's version, "v1".
	Labprobe string       `json:"labprobe"`
	Command  string       `json:"command"`
	Evidence evidence.Set `json:"evidence,omitempty"`
	// Untestable is the reason why this place can't show it.
	Untestable string `json:"untestable,omitempty"`
	// Error says how the measurement broke.
	Error string `json:"error,omitempty"`
}

// Version of the report's format.
const Version = "v1"

// Lookup finds a command by name.
func Lookup(name string) (Command, error) {
	i := slices.IndexFunc(commands, func(c Command) bool { return c.Name == name })
	if i < 0 {
		return Command{}, fmt.Errorf("unknown labprobe command %q; known: %s", name, strings.Join(Names(), ", "))
	}
	return commands[i], nil
}

// Names lists the commands.
func Names() []string {
	names := make([]string, len(commands))
	for i, c := range commands {
		names[i] = c.Name
	}
	return names
}

// Main runs one command line (without the program's name), prints its report
// to stdout and returns the exit code: 0 also where the answer is untestable,
// 1 where the measurement broke, 2 for a usage error.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	hold, args, err := splitHold(args)
	if err != nil {
		fmt.Fprintln(stderr, "labprobe:", err)
		return 2
	}
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	c, err := Lookup(args[0])
	if err != nil {
		fmt.Fprintln(stderr, "labprobe:", err)
		return 2
	}
	report := Report{Labprobe: Version, Command: c.Name}
	code := 0
	set, err := run(ctx, c, args[1:])
	var untestable *evidence.Untestable
	switch {
	case errors.As(err, &untestable):
		report.Untestable = untestable.Reason
	case err != nil:
		report.Error = err.Error()
		code = 1
	default:
		report.Evidence = set
		if c.code != nil {
			code = c.code(set)
		}
	}
	if err := json.NewEncoder(stdout).Encode(report); err != nil {
		fmt.Fprintln(stderr, "labprobe:", err)
		return 1
	}
	wait(ctx, hold)
	return code
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: labprobe ["+HoldFlag+" DURATION] COMMAND [ARG…]")
	for _, c := range commands {
		fmt.Fprintf(w, "\n  %s\n      %s\n", strings.TrimSpace(c.Name+" "+c.Usage), c.Doc)
	}
}

func run(ctx context.Context, c Command, args []string) (evidence.Set, error) {
	if _, err := c.Outputs(args); err != nil {
		return nil, err
	}
	if c.Run == nil {
		return nil, evidence.Untestablef("labprobe %s does not exist on this platform", c.Name)
	}
	return c.Run(ctx, args)
}

// Parse finds the report in the output of a labprobe run: the last line that
// is one. Other output (a runtime's warnings) is passed over.
func Parse(output []byte) (Report, error) {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	for _, line := range slices.Backward(lines) {
		var r Report
		if !strings.HasPrefix(line, `{"labprobe":`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return Report{}, fmt.Errorf("labprobe's report doesn't parse: %w; it begins %.200q", err, line)
		}
		if r.Labprobe != Version {
			return Report{}, fmt.Errorf("labprobe's report has version %q, this labctl reads %q", r.Labprobe, Version)
		}
		return r, nil
	}
	return Report{}, fmt.Errorf("no labprobe report in the output: %.300q", output)
}

// Result turns a report into what a probe returns.
func (r Report) Result() (evidence.Set, error) {
	switch {
	case r.Error != "":
		return nil, fmt.Errorf("labprobe %s: %s", r.Command, r.Error)
	case r.Untestable != "":
		return nil, &evidence.Untestable{Reason: r.Untestable}
	}
	return r.Evidence, nil
}
