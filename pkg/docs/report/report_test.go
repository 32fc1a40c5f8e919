package report_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/report"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if that is meant, run: go test ./pkg/docs/report -update\ngot:\n%s", path, got)
	}
}

// tree are the documents that the findings are about.
var tree = map[string]string{
	"guide/web.md": "# Web\n\n```yaml\napiVersion: apps/v1\nkind: Deployment\nspec:\n\treplicas: three\n  template:\n```\n",
	"部署.md":        "# 部署\n\n- 例子：\n\n  ```yaml\n  名称: 错误的值 # 注释\n  ```\n",
}

func source(path string) ([]byte, error) {
	text, ok := tree[path]
	if !ok {
		return nil, os.ErrNotExist
	}
	return []byte(text), nil
}

var rules = []docs.Rule{
	{ID: "api-rejected", Severity: docs.Error, Title: "the API server refuses the object", Help: "The API server says why. <Fields> & values are as it names them."},
	{ID: "missing-limits", Severity: docs.Note, Title: "no limits", Help: "Say how much memory it may take."},
	{ID: "unclosed-fence", Severity: docs.Warning, Title: "a code block isn't closed: the rest of the document is in it", Help: "Close the fence."},
}

// example has findings of each severity, with and without an end, an object,
// an example and a line.
func example() docs.Report {
	sum := docs.Sum("web")
	return docs.Report{
		Labctl: "v0.5.0", Server: "v1.37.2", Root: "docs", Documents: 3,
		Examples: map[docs.Class]int{docs.Kubernetes: 2, docs.Config: 1},
		Findings: []docs.Finding{
			{Rule: "api-rejected", Severity: docs.Error, Path: "guide/web.md", Position: docs.Position{Line: 7, Column: 12}, End: docs.Position{Line: 7, Column: 17},
				Message: `spec.replicas is "three"; write a number`, Field: "spec.replicas", Object: "Deployment shop/web", Example: 3, SHA256: sum},
			{Rule: "missing-limits", Severity: docs.Note, Path: "guide/web.md", Position: docs.Position{Line: 8}, Message: "no limits", Object: "Deployment shop/web", Example: 3, SHA256: sum},
			{Rule: "unclosed-fence", Severity: docs.Warning, Path: "guide/web.md", Message: "a fence is open at the end"},
			{Rule: "api-rejected", Severity: docs.Error, Path: "部署.md", Position: docs.Position{Line: 6, Column: 7}, End: docs.Position{Line: 6, Column: 11}, Message: "错误的值 is wrong: 100%, sure", Example: 5, SHA256: docs.Sum("x")},
			{Rule: "api-rejected", Severity: docs.Error, Path: "部署.md", Position: docs.Position{Line: 6, Column: 7}, End: docs.Position{Line: 6, Column: 11}, Message: "and again", Example: 5, SHA256: docs.Sum("x")},
		},
		Baseline: 2, Skipped: 1, Rules: rules,
	}
}

func options() report.Options {
	return report.Options{Prefix: "docs", Source: source, Documents: []report.Document{{"guide/web.md", []int{3}}, {"ok.md", []int{2, 9}}, {"部署.md", []int{5}}}}
}

func write(t *testing.T, format string, r docs.Report, o report.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, format, r, o); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGolden(t *testing.T) {
	for name, c := range map[string]struct {
		format string
		change func(*docs.Report, *report.Options)
	}{
		"report.txt":       {"text", nil},
		"report-color.txt": {"text", func(_ *docs.Report, o *report.Options) { o.Color = true }},
		"clean.txt": {"text", func(r *docs.Report, _ *report.Options) {
			r.Findings, r.Baseline, r.Skipped, r.Server = nil, 0, 0, ""
		}},
		"report.json":   {"json", nil},
		"report.sarif":  {"sarif", nil},
		"report.github": {"github", nil},
		"junit.xml":     {"junit", nil},
		"junit-all.xml": {"junit", func(_ *docs.Report, o *report.Options) { o.FailOn, o.Documents = docs.Note, nil }},
	} {
		r, o := example(), options()
		if c.change != nil {
			c.change(&r, &o)
		}
		golden(t, name, write(t, c.format, r, o))
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := report.Write(&bytes.Buffer{}, "xml", example(), options()); err == nil || !strings.Contains(err.Error(), "text, json, junit, sarif, github") {
		t.Error(err)
	}
}

// hostile are texts that terminals, XML, JSON and GitHub's log would obey or refuse.
var hostile = []string{
	"\x1b[31mred\x1b]0;title\x07", "\x00\x01\x0b\x7f\u009b1m", "a\nb\r\nc", "::error file=x::y", "]]><x>&amp;\"'", "\xff\xfe\x80", "\ufffe\uffff\U0010ffff",
	"\u202ereversed\u2066", "%0A%25", "a,b:c", strings.Repeat("漢", 5000), "\u2028\u2029\ufeff", " ", "../../x", "C:\\x", "/abs", "//host/x", "",
}

func hostileReport() (docs.Report, report.Options) {
	r := docs.Report{Labctl: hostile[0], Server: hostile[1], Root: hostile[2], Documents: len(hostile), Examples: map[docs.Class]int{docs.Prose: 1}, Rules: rules}
	for i, h := range hostile {
		path := fmt.Sprintf("%d%s.md", i, h)
		if i%3 == 0 {
			path = h + ":.md"
		}
		at := docs.Position{Line: 1 + i%4, Column: i * 3}
		r.Findings = append(r.Findings,
			docs.Finding{Rule: rules[i%3].ID, Severity: rules[i%3].Severity, Path: path, Position: at, End: docs.Position{Line: at.Line, Column: i}, Message: h, Field: h, Object: h, Example: i, SHA256: h},
			docs.Finding{Rule: "no-such-rule", Severity: docs.Error, Path: path, Message: h + h})
	}
	text := []byte(strings.Join(hostile, "\n"))
	return r, report.Options{Prefix: "a b", Source: func(string) ([]byte, error) { return text, nil }, Color: false}
}

// reports are all reports that have a schema.
func reports(t *testing.T, format string) map[string][]byte {
	hr, ho := hostileReport()
	return map[string][]byte{
		"example": write(t, format, example(), options()),
		"hostile": write(t, format, hr, ho),
		"empty":   write(t, format, docs.Report{}, report.Options{}),
	}
}

func TestSARIFSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("testdata/schema/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(b []byte) error {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return err
		}
		return schema.Validate(doc)
	}
	for name, b := range reports(t, "sarif") {
		if err := check(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := bytes.Replace(write(t, "sarif", example(), options()), []byte(`"startLine": 7`), []byte(`"startLine": 0`), 1)
	if check(broken) == nil {
		t.Error("the schema accepts a line 0")
	}
}

// TestSARIFFingerprints proves that they stay where an example moves, differ
// from each other, and change with the example.
func TestSARIFFingerprints(t *testing.T) {
	prints := func(r docs.Report) []string {
		var log struct {
			Runs []struct {
				Results []struct{ PartialFingerprints map[string]string }
			}
		}
		if err := json.Unmarshal(write(t, "sarif", r, options()), &log); err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, result := range log.Runs[0].Results {
			out = append(out, result.PartialFingerprints["labctlFinding/v1"])
		}
		return out
	}
	before := prints(example())
	seen := map[string]bool{}
	for _, p := range before {
		if p == "" || seen[p] {
			t.Errorf("fingerprint %q is there twice", p)
		}
		seen[p] = true
	}
	moved := example()
	for i := range moved.Findings {
		moved.Findings[i].Line += 10
		moved.Findings[i].Example += 10
	}
	if after := prints(moved); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("lines moved: %v became %v", before, after)
	}
	moved.Findings[0].SHA256 = docs.Sum("changed")
	if prints(moved)[0] == before[0] {
		t.Error("the example changed, its fingerprint didn't")
	}
}

func TestJUnitSchema(t *testing.T) {
	schema, err := readXSD("testdata/schema/jenkins-junit.xsd")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range reports(t, "junit") {
		if err := schema.validate(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := string(write(t, "junit", example(), options()))
	for name, broken := range map[string]string{
		"unknown attribute": strings.Replace(good, "classname=", "klass=", 1),
		"required missing":  strings.Replace(good, "<testcase name=", "<testcase status=", 1),
		"wrong order":       strings.Replace(good, "<failure", "<system-out></system-out><failure", 1),
		"unknown element":   strings.Replace(strings.Replace(good, "<failure", "<fail", 1), "</failure", "</fail", 1),
		"text in between":   strings.Replace(good, "<testcase", "text<testcase", 1),
		"another root":      "<testcases></testcases>",
	} {
		if broken == good || schema.validate([]byte(broken)) == nil {
			t.Errorf("%s: the schema accepts it", name)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	var suites struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
	}
	if err := xml.Unmarshal(write(t, "junit", example(), options()), &suites); err != nil {
		t.Fatal(err)
	}
	// Four examples and web.md itself; failures are web.md:3 and 部署.md:5.
	if suites.Tests != 5 || suites.Failures != 2 {
		t.Errorf("%+v", suites)
	}
}

// TestHostile proves that nothing reaches a terminal that it would obey, and
// that no finding becomes two lines.
func TestHostile(t *testing.T) {
	r, o := hostileReport()
	for _, format := range []string{"text", "github"} {
		b := write(t, format, r, o)
		if !utf8.Valid(b) {
			t.Errorf("%s is not UTF-8", format)
		}
		for _, c := range string(b) {
			if c != '\n' && (unicode.IsControl(c) || unicode.Is(unicode.Cf, c)) {
				t.Errorf("%s lets %q through", format, c)
			}
		}
		lines := bytes.Count(b, []byte("\n::"))
		if format == "github" && lines+1 != len(r.Findings) {
			t.Errorf("%d findings are %d commands", len(r.Findings), lines+1)
		}
	}
	for _, format := range []string{"json", "sarif"} {
		if b := write(t, format, r, o); !json.Valid(b) || !utf8.Valid(b) {
			t.Errorf("%s is not JSON", format)
		}
	}
}

func TestTextLines(t *testing.T) {
	long := strings.Repeat("x", 300) + "WRONG" + strings.Repeat("y", 1<<20)
	r := docs.Report{Findings: []docs.Finding{{Rule: "r", Severity: docs.Error, Path: "p", Position: docs.Position{Line: 1, Column: 301}, End: docs.Position{Line: 1, Column: 306}, Message: "m"}}}
	b := write(t, "text", r, report.Options{Source: func(string) ([]byte, error) { return []byte(long), nil }})
	lines := strings.Split(string(b), "\n")
	if !strings.Contains(lines[1], "xWRONGy") || len([]rune(lines[1])) > 120 || !strings.Contains(lines[2], "^^^^^") || strings.Contains(lines[2], "^^^^^^") {
		t.Errorf("%q", lines[:3])
	}
	// A document that is gone, and a line that isn't there, have no excerpt.
	r.Findings[0].Line = 5
	for _, source := range []func(string) ([]byte, error){
		func(string) ([]byte, error) { return nil, errors.New("gone") },
		func(string) ([]byte, error) { return []byte("a\nb"), nil },
	} {
		if b := write(t, "text", r, report.Options{Source: source}); !strings.HasPrefix(string(b), "p:5:301: error r: m\n\n") {
			t.Errorf("%q", b)
		}
	}
}

// TestJSONComesBack proves that nothing is lost in what machines read.
func TestJSONComesBack(t *testing.T) {
	b := write(t, "json", example(), options())
	var back struct {
		APIVersion, Kind string
		docs.Report
	}
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	want, _ := json.Marshal(example())
	got, _ := json.Marshal(back.Report)
	if !bytes.Equal(got, want) || back.Kind != report.Kind || back.APIVersion == "" {
		t.Errorf("%s\n%+v", got, back)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	for _, format := range report.Formats {
		if err := report.Write(full{}, format, example(), options()); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", format, err)
		}
	}
}
