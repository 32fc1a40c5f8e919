// Package report turns the report of a validation into bytes: text for people,
// JSON, JUnit XML, SARIF 2.1.0 and annotations of GitHub for machines. Its
// functions are pure; whatever the documents hold, what they write is valid.
package report

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/lab"
)

// Kind of the JSON report.
const Kind = "DocsReport"

// Formats are the formats of Write.
var Formats = []string{"text", "json", "junit", "sarif", "github"}

// Options say how reports look.
type Options struct {
	// Prefix leads from the reader's place to the root of the run, with
	// slashes: "docs". Paths in all reports but JSON begin with it.
	Prefix string
	// Color uses ANSI escapes (ECMA-48 SGR) in text.
	Color bool
	// Source gives a document by its path, for the lines that text shows; nil
	// leaves them out.
	Source func(path string) ([]byte, error)
	// FailOn is the least severity that is a failure in JUnit; error if empty.
	FailOn docs.Severity
	// Documents are all that were looked at, for JUnit, which names what is
	// right too; nil are those with findings.
	Documents []Document
}

// Document is one that was looked at, with the lines of its examples.
type Document struct {
	Path     string
	Examples []int
}

// Write writes the report in one of Formats.
func Write(w io.Writer, format string, r docs.Report, o Options) error {
	write, ok := map[string]func(io.Writer, docs.Report, Options) error{
		"text": Text, "json": JSON, "junit": JUnit, "sarif": SARIF, "github": GitHub,
	}[format]
	if !ok {
		return fmt.Errorf("unknown format %q; write one of %s", format, strings.Join(Formats, ", "))
	}
	b := bufio.NewWriter(w)
	if err := write(b, r, o); err != nil {
		return fmt.Errorf("%s report: %w", format, err)
	}
	return b.Flush()
}

// JSON writes the report as it is, with the project's apiVersion and kind.
func JSON(w io.Writer, r docs.Report, _ Options) error {
	return encode(w, struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		docs.Report
	}{lab.APIVersion, Kind, r})
}

func encode(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// file is the path of a finding as the reader can open it.
func (o Options) file(path string) string {
	if o.Prefix == "" || o.Prefix == "." {
		return path
	}
	return strings.TrimSuffix(o.Prefix, "/") + "/" + path
}

// count counts the findings of each severity.
func count(findings []docs.Finding) map[docs.Severity]int {
	n := map[docs.Severity]int{}
	for _, f := range findings {
		n[f.Severity]++
	}
	return n
}

func titles(rules []docs.Rule) map[string]string {
	out := make(map[string]string, len(rules))
	for _, r := range rules {
		out[r.ID] = r.Title
	}
	return out
}
