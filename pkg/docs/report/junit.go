package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// The elements of JUnit XML as Jenkins' schema has them
// (testdata/schema/jenkins-junit.xsd).
type (
	junitSuites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Suites   []junitSuite
	}
	junitSuite struct {
		XMLName  xml.Name `xml:"testsuite"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Cases    []junitCase
	}
	junitCase struct {
		XMLName  xml.Name       `xml:"testcase"`
		Name     string         `xml:"name,attr"`
		Class    string         `xml:"classname,attr"`
		Failures []junitFailure `xml:"failure"`
		Out      string         `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit is a suite a document and a case an example, with one more for what
// belongs to no example. Findings below Options.FailOn don't fail a case: they
// are its output.
func JUnit(w io.Writer, r docs.Report, o Options) error {
	least := o.FailOn
	if least == "" {
		least = docs.Error
	}
	root := junitSuites{Name: "labctl docs validate"}
	for _, d := range o.documents(r) {
		s := junitSuite{Name: printable(o.file(d.Path))}
		for _, line := range d.Examples {
			s.Cases = append(s.Cases, o.junitCase(s.Name, line, d.findings[line], least))
		}
		s.Tests = len(s.Cases)
		for _, c := range s.Cases {
			s.Failures += min(len(c.Failures), 1)
		}
		root.Tests += s.Tests
		root.Failures += s.Failures
		root.Suites = append(root.Suites, s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(root); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (o Options) junitCase(class string, line int, findings []docs.Finding, least docs.Severity) junitCase {
	c := junitCase{Name: "the document", Class: class}
	if line > 0 {
		c.Name = fmt.Sprintf("example at line %d", line)
	}
	var out []string
	for _, f := range findings {
		text := fmt.Sprintf("%s%s: %s %s: %s", printable(o.file(f.Path)), place(f.Position), f.Severity, f.Rule, f.Message)
		if f.Severity.AtLeast(least) {
			c.Failures = append(c.Failures, junitFailure{Type: f.Rule, Message: f.Message, Text: text})
		} else {
			out = append(out, text)
		}
	}
	c.Out = strings.Join(out, "\n")
	return c
}

// found is a document with its findings by the line of their example, 0 where
// they have none.
type found struct {
	Document
	findings map[int][]docs.Finding
}

// documents are those of the options with their findings; a finding of one
// that isn't among them adds it, and one of an example that isn't, that.
func (o Options) documents(r docs.Report) []found {
	byPath := map[string]*found{}
	for _, d := range o.Documents {
		byPath[d.Path] = &found{Document{d.Path, slices.Clone(d.Examples)}, map[int][]docs.Finding{}}
	}
	for _, f := range r.Findings {
		d, ok := byPath[f.Path]
		if !ok {
			d = &found{Document{Path: f.Path}, map[int][]docs.Finding{}}
			byPath[f.Path] = d
		}
		if _, ok := d.findings[f.Example]; !ok {
			d.Examples = append(d.Examples, f.Example)
		}
		d.findings[f.Example] = append(d.findings[f.Example], f)
	}
	var out []found
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		d := byPath[path]
		slices.Sort(d.Examples)
		d.Examples = slices.Compact(d.Examples)
		out = append(out, *d)
	}
	return out
}
