package extract

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// goodMarks are marks as they are written and as they are read.
var goodMarks = map[string]docs.Mark{
	` skip reason="needs a GPU" `:              {Key: "skip", Reason: "needs a GPU"},
	`skip: reason='says "no"'`:                 {Key: "skip", Reason: `says "no"`},
	`skip reason=slow`:                         {Key: "skip", Reason: "slow"},
	"skip\n  reason=\"two\n lines\"":           {Key: "skip", Reason: "two\n lines"},
	`skip reason = "需要显卡"`:                     {Key: "skip", Reason: "需要显卡"},
	`expect: rejected reason="shows an error"`: {Key: "expect", Value: "rejected", Reason: "shows an error"},
	`expect rejected reason="shows an error"`:  {Key: "expect", Value: "rejected", Reason: "shows an error"},
	`namespace: demo`:                          {Key: "namespace", Value: "demo"},
	`namespace: demo reason="why not"`:         {Key: "namespace", Value: "demo", Reason: "why not"},
	`after: 5ae91f3c`:                          {Key: "after", Value: "5ae91f3c"},
	`after: 12`:                                {Key: "after", Value: "12"},
	`after: Namespace/demo`:                    {Key: "after", Value: "Namespace/demo"},
}

// badMarks are such that can't be read, with a part of the reason.
var badMarks = map[string]string{
	"":                                    "has no key",
	"!":                                   "has no key",
	`skp reason="x"`:                      `"skp" isn't known`,
	"skip":                                "has no reason",
	`skip reason=""`:                      "has no reason",
	`skip reason="  "`:                    "has no reason",
	`skip because reason="x"`:             `"because"`,
	`skip reason="x" reason="y"`:          "two reasons",
	`skip reason="x" until="y"`:           `no field "until"`,
	`skip reason="x`:                      `can't be read from "reason`,
	`skip reason="x" y`:                   `can't be read from "y"`,
	"expect: rejected":                    "has no reason",
	`expect reason="x"`:                   `value ""`,
	`expect: accepted reason="x"`:         `"accepted"`,
	"namespace:":                          "no name of a namespace",
	"namespace: Demo":                     `"Demo" is no name`,
	"namespace: -demo":                    "no name of a namespace",
	"namespace: a b":                      `can't be read from "b"`,
	"after:":                              "names no example",
	"after: " + strings.Repeat("\"", 100): "…",
}

func TestParseMark(t *testing.T) {
	for text, want := range goodMarks {
		if m, problem := parseMark(text); problem != "" || m != want {
			t.Errorf("%q: %+v, %s", text, m, problem)
		}
	}
	for text, want := range badMarks {
		if m, problem := parseMark(text); !strings.Contains(problem, want) || problem == "" {
			t.Errorf("%q: %+v, %q, want %q", text, m, problem, want)
		}
	}
}

const mark, other, code = `<!-- labctl: skip reason="x" -->`, `<!-- labctl: namespace: demo -->`, "\n\n```yaml\na: 1\n```\n"

// markCases are documents with their marks and findings.
var markCases = map[string]struct {
	text string
	// want are place, key and example of each mark.
	want     []string
	findings []string
}{
	"before":               {mark + code, []string{"1:1 skip 0"}, nil},
	"two":                  {mark + "\n" + other + code, []string{"1:1 skip 0", "2:1 namespace 0"}, nil},
	"in a line":            {mark + " " + other + code, []string{"1:1 skip 0", "1:34 namespace 0"}, nil},
	"second example":       {"```\na\n```\n" + mark + code, []string{"4:1 skip 1"}, nil},
	"in text":              {"说明 " + mark + " text" + code, []string{"1:4 skip 0"}, nil},
	"in a list":            {"- a\n\n  " + mark + "\n  ```yaml\n  a: 1\n  ```\n", []string{"3:3 skip 0"}, nil},
	"in a quote":           {"> " + mark + "\n>\n> ```yaml\n> a: 1\n> ```\n", []string{"1:3 skip 0"}, nil},
	"on lines":             {"<!--\nlabctl: skip\n  reason=\"x\"\n-->" + code, []string{"1:1 skip 0"}, nil},
	"in other HTML":        {"<div>\n" + mark + "\n</div>" + code, []string{"2:1 skip 0"}, nil},
	"in a table":           {"| a |\n|---|\n| " + mark + " |" + code, []string{"3:3 skip 0"}, nil},
	"in a heading":         {"## a " + mark + code, []string{"1:6 skip 0"}, nil},
	"CRLF":                 {"<!--\r\nlabctl: skip\r\nreason=\"x\" -->\r\n\r\n    a\r\n", []string{"1:1 skip 0"}, nil},
	"comment of others":    {"<!-- see labctl: skip -->\n<!-- labctl -->" + code, nil, nil},
	"in a code span":       {"`" + mark + "` and `` ` " + mark + " ``" + code, nil, nil},
	"after a span":         {"`a` `` ` " + mark + " `` ``` " + mark + code, []string{"1:50 skip 0"}, nil},
	"escaped":              {`a \` + mark + code, nil, nil},
	"in code":              {"```html\n" + mark + "\n```\n\n    " + mark + code, nil, nil},
	"in pre":               {"<pre>\n" + mark + "\n</pre>" + code, nil, nil},
	"in front matter":      {"---\na: " + mark + "\n---\n" + code, nil, nil},
	"past a heading":       {mark + "\n\n# a" + code, []string{"1:1 skip -1"}, []string{"1:1 mark-unused"}},
	"past another heading": {mark + "\n\na\n===" + code, []string{"1:1 skip -1"}, []string{"1:1 mark-unused"}},
	"at the end":           {code + mark, []string{"6:1 skip -1"}, []string{"6:1 mark-unused"}},
	"twice":                {mark + "\n" + mark + code, []string{"1:1 skip 0"}, []string{"2:1 mark-invalid"}},
	"unknown":              {"<!--labctl:foo-->" + code, nil, []string{"1:1 mark-invalid"}},
	"open":                 {"<!-- labctl: skip reason=\"x\"" + code, nil, []string{"1:1 mark-invalid"}},
	"open in text":         {"a <!-- labctl: skip reason=\"x\"" + code, nil, []string{"1:3 mark-invalid"}},
	"after":                {code + "<!-- labctl: after: 4 -->" + code, []string{"6:1 after 1"}, nil},
	"a shell block": {mark + "\n\n```sh\nkubectl apply -f - <<E\na: 1\nE\nkubectl apply -f - <<E\na: 1\nE\n```\n", []string{
		"1:1 skip 1", "1:1 skip 2"}, nil},
	"a shell block without": {mark + "\n\n```sh\nls\n```\n" + code, []string{"1:1 skip 0"}, nil},
}

func TestMarks(t *testing.T) {
	for name, c := range markCases {
		t.Run(name, func(t *testing.T) {
			d := Markdown("a.md", []byte(c.text))
			var got []string
			for _, m := range d.Marks {
				got = append(got, fmt.Sprintf("%d:%d %s %d", m.Line, m.Column, m.Key, m.Example))
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := briefFindings(d); len(got)+len(c.findings) > 0 && !reflect.DeepEqual(got, c.findings) {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
		})
	}
}
