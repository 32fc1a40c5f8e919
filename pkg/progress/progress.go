// Package progress is how long work tells a person where it is. Packages that
// work are given a Log; the command layer decides how it looks.
package progress

import "io"

// Log receives the steps of long work. It is safe for concurrent use.
type Log interface {
	// Start announces a step; the caller must End it. Steps may nest in time.
	Start(title string) Step
	// Info writes one status line that stands by itself.
	Info(format string, args ...any)
	// Output is the full log file: everything that commands print goes there.
	Output() io.Writer
	// Path is the log file's path, for errors to name; "" if there is none.
	Path() string
}

// Step is one step under way.
type Step interface {
	// Update says how far the step is: done of total units (0, 0 if
	// unknown) and what it is at.
	Update(done, total int, detail string)
	// End ends the step; a nil err is success.
	End(err error)
}

// Discard is a Log that says nothing and keeps nothing.
var Discard Log = discard{}

type discard struct{}

func (discard) Start(string) Step       { return discard{} }
func (discard) Info(string, ...any)     {}
func (discard) Output() io.Writer       { return io.Discard }
func (discard) Path() string            { return "" }
func (discard) Update(int, int, string) {}
func (discard) End(error)               {}
