package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file. Line and Column count from 1; they are 0
// where the mistake belongs to the whole file.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one mistake in a lab spec.
type Problem struct {
	Position
	// Field is the path of the field, e.g. spec.claims[3].decide; empty where
	// the file as a whole is wrong.
	Field string
	// Message says what is wrong and what to do.
	Message string
}

func (p Problem) String() string {
	if p.Field == "" {
		return fmt.Sprintf("%s: %s", p.Position, p.Message)
	}
	return fmt.Sprintf("%s: %s: %s", p.Position, p.Field, p.Message)
}

// Problems are all the mistakes that were found, not only the first.
type Problems []Problem

// Error lists the problems, one a line, in the order of files and lines.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p.sorted() {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// Err is the problems as an error, nil if there are none.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p Problems) sorted() Problems {
	return slices.SortedStableFunc(slices.Values(p), func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}
