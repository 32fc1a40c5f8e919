package report

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// The elements of JUnit XML that CI systems agree on
// (https://github.com/testmoapp/junitxml).
type (
	junitSuites struct {
		XMLName xml.Name `xml:"testsuites"`
		Name    string   `xml:"name,attr"`
		junitCounts
		Suites []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string `xml:"name,attr"`
		Timestamp string `xml:"timestamp,attr"`
		junitCounts
		Cases []junitCase `xml:"testcase"`
	}
	junitCounts struct {
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Time     string `xml:"time,attr"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Class     string        `xml:"classname,attr"`
		File      string        `xml:"file,attr,omitempty"`
		Line      int           `xml:"line,attr,omitempty"`
		Time      string        `xml:"time,attr"`
		Failure   *junitMessage `xml:"failure"`
		Error     *junitMessage `xml:"error"`
		Skipped   *junitMessage `xml:"skipped"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit is a suite a lab and a case a claim: a verdict that differs is a
// failure, what broke is an error, untestable, planned and not run are skipped. A lab that could not be set up
// or cleaned up has one case more.
func JUnit(r result.Result) ([]byte, error) {
	root := junitSuites{Name: "labctl"}
	total := 0.0
	for _, l := range r.Labs {
		s := junitSuite{Name: l.Name, Timestamp: r.Started.UTC().Format("2006-01-02T15:04:05")}
		s.Time = seconds(l.Seconds)
		total += l.Seconds
		for _, c := range l.Claims {
			s.add(junitClaim(l, c))
		}
		if l.Error != "" {
			s.add(junitCase{Name: "set-up and clean-up", Class: l.Name, Time: seconds(0), Error: &junitMessage{Message: firstLine(l.Error), Text: l.Error}})
		}
		root.Tests += s.Tests
		root.Failures += s.Failures
		root.Errors += s.Errors
		root.Skipped += s.Skipped
		root.Suites = append(root.Suites, s)
	}
	root.Time = seconds(total)
	b, err := xml.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("JUnit report: %w", err)
	}
	return append([]byte(xml.Header), append(b, '\n')...), nil
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func junitClaim(l result.Lab, c result.Claim) junitCase {
	out := junitCase{
		Name: c.ID + " " + oneLine(c.Statement.EN), Class: l.Name + "." + string(c.Layer),
		File: c.Source.Path, Line: c.Source.Line, Time: seconds(c.Seconds), SystemOut: evidenceLines(c),
	}
	reason := ""
	if c.Reason != nil {
		reason = c.Reason.EN
	}
	switch {
	case c.Error != "":
		out.Error = &junitMessage{Message: firstLine(c.Error), Text: c.Error}
	case c.Outcome() == result.NotRun:
		out.Skipped = &junitMessage{Message: "not run: the run was interrupted"}
	case !c.OK:
		out.Failure = &junitMessage{
			Message: fmt.Sprintf("is %s, expected %s", c.Verdict, c.Expected),
			Text:    strings.TrimSpace(strings.Join([]string{reason, "decide: " + oneLine(c.Decide), evidenceLines(c)}, "\n")),
		}
	case c.Verdict == lab.Untestable || c.Verdict == lab.Planned:
		out.Skipped = &junitMessage{Message: string(c.Verdict) + ": " + oneLine(reason)}
	}
	return out
}

func evidenceLines(c result.Claim) string {
	var lines []string
	for _, v := range c.Evidence {
		lines = append(lines, fmt.Sprintf("%s = %s (%s)", v.Name, oneLine(v.Text()), origin(v.Source)))
	}
	return strings.Join(lines, "\n")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func seconds(s float64) string { return fmt.Sprintf("%.3f", s) }
