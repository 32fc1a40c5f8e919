package main

import (
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// findings compares a report with what the map says of each block: those that
// the API server refuses have to be found, inside the block and for the reason
// that the map gives; those that it accepts have to be without an error.
type findings struct {
	refused, found int
	accepted, free int
	missed, wrong  []string
	content        []string
	report         docs.Report
}

func compareFindings(r docs.Report, blocks []block) *findings {
	f := findings{report: r}
	for _, b := range blocks {
		switch errors := f.errors(b); {
		case b.Class == "k8s-core-bug" && strings.Contains(b.Bug, "R"):
			f.refuse(b, errors)
		case b.Class == "k8s-core":
			f.accept(b, errors)
		}
	}
	return &f
}

// errors are those whose place is inside a block.
func (f *findings) errors(b block) []docs.Finding {
	var found []docs.Finding
	for _, x := range f.report.Findings {
		// The report's root may lie below the map's.
		if x.Severity == docs.Error && (x.Path == b.File || strings.HasSuffix(b.File, "/"+x.Path)) && b.Line <= x.Line && x.Line <= b.End {
			found = append(found, x)
		}
	}
	return found
}

func (f *findings) refuse(b block, errors []docs.Finding) {
	f.refused++
	for _, x := range errors {
		if sameReason(b.Remark, x) {
			f.found++
			return
		}
	}
	said := "no error is found"
	if len(errors) > 0 {
		said = "another error is found (" + errors[0].Message + ")"
	}
	f.missed = append(f.missed, fmt.Sprintf("%s:%d: %s, though %s", b.File, b.Line, said, b.Remark))
}

func (f *findings) accept(b block, errors []docs.Finding) {
	f.accepted++
	wrong := false
	for _, x := range errors {
		line := fmt.Sprintf("%s:%d: %s: %s", x.Path, x.Line, x.Rule, x.Message)
		// The API server accepts any text as a file of a ConfigMap; where the map
		// says that such a text is wrong, an error there is right.
		if strings.HasPrefix(x.Field, "data[") && strings.Contains(b.Remark, "content") {
			f.content = append(f.content, line)
			continue
		}
		wrong = true
		f.wrong = append(f.wrong, line)
	}
	if !wrong {
		f.free++
	}
}

var (
	word = regexp.MustCompile(`[A-Za-z]{3,}`)
	// common are words that say nothing about what is wrong.
	common = " the and not for has with must value required invalid one without spec error missing unknown field "
)

// sameReason says whether a finding names a field, a kind or a rule that the
// map's remark names too.
func sameReason(remark string, x docs.Finding) bool {
	said := map[string]bool{}
	for _, w := range word.FindAllString(remark, -1) {
		said[strings.ToLower(w)] = true
	}
	for _, w := range word.FindAllString(x.Field+" "+x.Rule+" "+x.Message, -1) {
		if w = strings.ToLower(w); said[w] && !strings.Contains(common, " "+w+" ") {
			return true
		}
	}
	return false
}

func (f *findings) good() bool {
	return f.refused > 0 && f.found == f.refused && f.accepted > 0 && f.free == f.accepted
}

func (f *findings) print(w io.Writer) {
	list := func(title string, lines []string) {
		fmt.Fprintln(w, title)
		for _, l := range lines {
			fmt.Fprintln(w, " ", l)
		}
	}
	list(fmt.Sprintf("%d of %d blocks that the API server refuses have an error at a line of theirs, for the map's reason", f.found, f.refused), f.missed)
	list(fmt.Sprintf("%d of %d blocks that it accepts have no error", f.free, f.accepted), f.wrong)
	if len(f.content) > 0 {
		list("errors in the content of ConfigMaps, which the map names too:", f.content)
	}
}
