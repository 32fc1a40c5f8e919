package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// findings compares a report with what the map says of each block: those that
// the API server refuses have to be found, inside the block; those without a
// mistake have to be without an error.
type findings struct {
	refused, found int
	accepted, free int
	missed, wrong  []string
}

func compareFindings(r docs.Report, blocks []block) *findings {
	var f findings
	for _, b := range blocks {
		errors := errorsOf(r, b)
		switch {
		case b.Class == "k8s-core-bug" && strings.Contains(b.Bug, "R"):
			f.refused++
			if len(errors) > 0 {
				f.found++
				continue
			}
			f.missed = append(f.missed, fmt.Sprintf("%s:%d: no error is found, though %s", b.File, b.Line, b.Remark))
		case b.Class == "k8s-core":
			f.accepted++
			if len(errors) == 0 {
				f.free++
			}
			for _, e := range errors {
				f.wrong = append(f.wrong, fmt.Sprintf("%s:%d: %s: %s", e.Path, e.Line, e.Rule, e.Message))
			}
		}
	}
	return &f
}

// errorsOf are the errors whose place is inside a block.
func errorsOf(r docs.Report, b block) []docs.Finding {
	var found []docs.Finding
	for _, f := range r.Findings {
		// The report's root may lie below the map's.
		if f.Severity == docs.Error && (f.Path == b.File || strings.HasSuffix(b.File, "/"+f.Path)) && b.Line <= f.Line && f.Line <= b.End {
			found = append(found, f)
		}
	}
	return found
}

func (f *findings) good() bool { return f.found == f.refused && f.free == f.accepted }

func (f *findings) print(w io.Writer) {
	fmt.Fprintf(w, "%d of %d blocks that the API server refuses have an error at a line of theirs\n", f.found, f.refused)
	for _, m := range f.missed {
		fmt.Fprintln(w, " ", m)
	}
	fmt.Fprintf(w, "%d of %d blocks that it accepts have no error\n", f.free, f.accepted)
	for _, m := range f.wrong {
		fmt.Fprintln(w, " ", m)
	}
}
