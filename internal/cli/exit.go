package cli

import (
	"context"
	"errors"
)

// The exit codes of labctl, as its help documents them.
const (
	exitOK            = 0
	exitDiffers       = 1 // a verdict differs from the expected one, or a probe broke
	exitUsage         = 2 // wrong flags, or a mistake in a lab spec
	exitProvision     = 3 // the cluster could not be brought up or taken down
	exitPrerequisites = 4 // something that labctl needs is missing on this machine
	exitInterrupted   = 130
)

const exitCodesHelp = `Exit codes:
  0    everything is as expected
  1    a verdict differs from the expected one, or a probe broke
  2    wrong usage, or a mistake in a lab spec
  3    provisioning failed
  4    a prerequisite is missing on this machine
  130  interrupted`

// coded is an error with the exit code that it ends labctl with. Errors
// without one are usage errors: cobra's own are of that kind.
type coded struct {
	code int
	err  error
}

func (c *coded) Error() string { return c.err.Error() }
func (c *coded) Unwrap() error { return c.err }

// withCode gives err the exit code, unless it is nil or has one already.
func withCode(code int, err error) error {
	var c *coded
	if err == nil || errors.As(err, &c) {
		return err
	}
	return &coded{code: code, err: err}
}

// errDiffers ends a run whose report has said everything already.
var errDiffers = &coded{code: exitDiffers, err: errors.New("verdicts differ from the expected ones")}

// errSaid is why a command ends whose output has said everything.
var errSaid = errors.New("the output says why")

// exitWith ends labctl with a code and without a message.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return &coded{code: code, err: errSaid}
}

func exitCode(err error) int {
	var c *coded
	switch {
	case err == nil, errors.Is(err, errNothingFailed):
		return exitOK
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &c):
		return c.code
	}
	return exitUsage
}
