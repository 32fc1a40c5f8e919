package extract

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// brief gives an example in one line: place, origin, language, and the place
// and text of each line.
func brief(e docs.Example) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d:%d-%d %s %s", e.Line, e.Column, e.EndLine, e.Origin, e.Language)
	for i, line := range strings.Split(strings.TrimSuffix(e.Text, "\n"), "\n") {
		fmt.Fprintf(&b, " |%d:%d %s", e.Lines[i].Line, e.Lines[i].Column, line)
	}
	return b.String()
}

func briefs(d docs.Document) []string {
	got := []string{}
	for _, e := range d.Examples {
		got = append(got, brief(e))
	}
	return got
}

func briefFindings(d docs.Document) []string {
	got := []string{}
	for _, f := range d.Findings {
		got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Rule))
	}
	return got
}

// blockCases are documents with their examples and findings.
var blockCases = map[string]struct {
	text string
	want []string
	// findings are those expected.
	findings []string
}{
	"fence":             {"```yaml\na: 1\n\nb: 2\n```\n", []string{"1:1-5 fence yaml |2:1 a: 1 |3:1  |4:1 b: 2"}, nil},
	"no newline at end": {"```yaml\na: 1\n```", []string{"1:1-3 fence yaml |2:1 a: 1"}, nil},
	"tildes":            {"~~~ yaml\n```\n~~~~\n", []string{"1:1-3 fence yaml |2:1 ```"}, nil},
	"longer fence": {"````md\n```yaml\na: 1\n```\n````\n", []string{
		"1:1-5 fence md |2:1 ```yaml |3:1 a: 1 |4:1 ```"}, nil},
	"shorter end":      {"````\na\n```\n", []string{"1:1-3 fence  |2:1 a |3:1 ```"}, []string{"1:1 unclosed-fence"}},
	"end with text":    {"```\na\n```yaml\n```\n", []string{"1:1-4 fence  |2:1 a |3:1 ```yaml"}, nil},
	"indented fence":   {"   ```yaml\n   a:\n     b: 1\n  c: 1\n  ```\n", []string{"1:4-5 fence yaml |2:4 a: |3:4   b: 1 |4:3 c: 1"}, nil},
	"empty":            {"```yaml\n```\n", []string{}, nil},
	"empty, unclosed":  {"a\n\n```yaml\n", []string{}, []string{"3:1 unclosed-fence"}},
	"spans are none":   {"a ``` b ``` c\n", []string{}, nil},
	"info with ticks":  {"``` a`b\n", []string{}, nil},
	"words of info":    {"```YAML {1,3} title=\"x\"\na\n```\n", []string{"1:1-3 fence yaml |2:1 a"}, nil},
	"info in braces":   {"``` { .yaml .annotate }\na\n```\n", []string{"1:1-3 fence yaml |2:1 a"}, nil},
	"info with path":   {"```yaml:a/b.yaml\na\n```\n", []string{"1:1-3 fence yaml |2:1 a"}, nil},
	"in a list":        {"1. a\n\n   ```yaml\n   a:\n     b: 1\n\n   c: 1\n   ```\n", []string{"3:4-8 fence yaml |4:4 a: |5:4   b: 1 |6:1  |7:4 c: 1"}, nil},
	"in a list, lazy":  {"- ```yaml\n  a: 1\nb\n", []string{"1:3-2 fence yaml |2:3 a: 1"}, []string{"1:3 unclosed-fence"}},
	"in a quote":       {"> ```yaml\n> a: 1\n>   b\n>\n> ```\n", []string{"1:3-5 fence yaml |2:3 a: 1 |3:3   b |4:2 "}, nil},
	"in quote of list": {"- > ```yaml\n  > a: 1\n  > ```\n", []string{"1:5-3 fence yaml |2:5 a: 1"}, nil},
	"wide characters":  {"> 说明\n>\n> - 例子：\n>\n>   ```yaml\n>   键: 值\n>   ```\n", []string{"5:5-7 fence yaml |6:5 键: 值"}, nil},
	"indented":         {"a\n\n    b: 1\n\n      c\n\n\nd\n", []string{"3:5-5 indented  |3:5 b: 1 |4:1  |5:5   c"}, nil},
	"indented by tab":  {"a\n\n\tb: 1\n\t\tc\n", []string{"3:2-4 indented  |3:2 b: 1 |4:2 \tc"}, nil},
	"not in paragraph": {"a\n    b: 1\n", []string{}, nil},
	"tab in a list":    {"-\t```yaml\n\ta: 1\n\t  b: 1\n\t```\n", []string{"1:3-4 fence yaml |2:2 a: 1 |3:2   b: 1"}, nil},
	"CRLF":             {"```yaml\r\na: 1\r\n\r\n```\r\n", []string{"1:1-4 fence yaml |2:1 a: 1 |3:1 "}, nil},
	"CR":               {"```yaml\ra: 1\r```\r", []string{"1:1-3 fence yaml |2:1 a: 1"}, nil},
	"byte order mark":  {"\ufeff```yaml\na: 1\n```\n", []string{"1:1-3 fence yaml |2:1 a: 1"}, nil},
	"invalid UTF-8": {"\xff\xfe bad\n\n```yaml\na: \xff\xff\n```\n", []string{"3:1-5 fence yaml |4:1 a: \ufffd\ufffd"},
		[]string{"1:1 invalid-utf8"}},
	"front matter":        {"---\ntitle: a\nfence: |\n  ```yaml\n---\n\n```yaml\na: 1\n```\n", []string{"7:1-9 fence yaml |8:1 a: 1"}, nil},
	"front matter, TOML":  {"+++\ntitle = '''\n```\n'''\n+++\n```yaml\na: 1\n```\n", []string{"6:1-8 fence yaml |7:1 a: 1"}, nil},
	"front matter, CRLF":  {"---\r\ntitle: a\r\n...\r\n\r\n    code\r\n", []string{"5:5-5 indented  |5:5 code"}, nil},
	"two breaks":          {"---\n\n```yaml\na: 1\n```\n\n---\n", []string{"3:1-5 fence yaml |4:1 a: 1"}, nil},
	"two breaks and text": {"---\nSome text\n```yaml\na: 1\n```\n---\n", []string{"3:1-5 fence yaml |4:1 a: 1"}, nil},
	"in HTML":             {"<details>\n<summary>a</summary>\n\n```yaml\na: 1\n```\n\n</details>\n", []string{"4:1-6 fence yaml |5:1 a: 1"}, nil},
	"in a comment":        {"<!--\n```yaml\na: 1\n```\n-->\n", []string{}, nil},
	"in an admonition":    {"!!! note \"a\"\n    text\n\n    ```yaml\n    a:\n      b: 1\n    ```\n\nend\n", []string{"4:5-7 fence yaml |5:5 a: |6:5   b: 1"}, nil},
	"in a tab":            {"=== \"One\"\n\n    ```yaml\n    a: 1\n    ```\n\n=== \"Two\"\n    ```yaml\n    b: 1\n    ```\n", []string{"3:5-5 fence yaml |4:5 a: 1", "8:5-10 fence yaml |9:5 b: 1"}, nil},
	"no admonition":       {"!!!\n    a\n\n===\n\n    b\n", []string{"6:5-6 indented  |6:5 b"}, nil},
	"after setext":        {"a\n===\n\n```yaml\na: 1\n```\n", []string{"4:1-6 fence yaml |5:1 a: 1"}, nil},
}

func TestBlocks(t *testing.T) {
	for name, c := range blockCases {
		t.Run(name, func(t *testing.T) {
			d := Markdown("a.md", []byte(c.text))
			if got := briefs(d); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if got := briefFindings(d); len(got)+len(c.findings) > 0 && !reflect.DeepEqual(got, c.findings) {
				t.Errorf("findings %q, want %q", got, c.findings)
			}
		})
	}
}

func TestMDX(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"no indented code":   {"<A>\n\n    text\n\n```yaml\na: 1\n```\n", []string{"5:1-7 fence yaml |6:1 a: 1"}},
		"after a tag":        {"<A>\n```yaml\na: 1\n```\n</A>\n", []string{"2:1-4 fence yaml |3:1 a: 1"}},
		"indented any width": {"<A>\n  <B>\n      ```yaml\n      a:\n        b: 1\n      ```\n  </B>\n</A>\n", []string{"3:7-6 fence yaml |4:7 a: |5:7   b: 1"}},
		"indented by tabs":   {"<A>\n\t\t```yaml\n\t\ta: 1\n\t\t```\n</A>\n", []string{"2:3-4 fence yaml |3:3 a: 1"}},
		"in a list":          {"- a\n\n      ````yaml\n      ```\n      ````\n", []string{"3:7-5 fence yaml |4:7 ```"}},
	} {
		d := Markdown("a.MDX", []byte(c.text))
		if got := briefs(d); !reflect.DeepEqual(got, c.want) || len(d.Findings) > 0 {
			t.Errorf("%s: got  %q\nwant %q, %v", name, got, c.want, d.Findings)
		}
	}
	d := Markdown("a.mdx", []byte("{/* labctl: skip reason=\"drawn\" */}\n\n```yaml\na: 1\n```\n"))
	if len(d.Marks) != 1 || d.Marks[0].Reason != "drawn" || d.Marks[0].Example != 0 {
		t.Errorf("%+v, %v", d.Marks, d.Findings)
	}
}

func TestHeadings(t *testing.T) {
	text := "```\na\n```\n# One *two* `three` [four](x) \\# <https://five.example> #\n```\nb\n```\nSix\nseven\n---\n> ## In a quote\n\n```\nc\n```\n"
	d := Markdown("a.md", []byte(text))
	var got []string
	for _, e := range d.Examples {
		got = append(got, e.Heading)
	}
	if want := []string{"", "One two three four # https://five.example", "In a quote"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	d = Markdown("a.md", []byte("# "+strings.Repeat("中", 1000)+"\n\n    a\n"))
	if n := len(d.Examples[0].Heading); n > maxHeading+len("…") {
		t.Errorf("a heading of %d bytes", n)
	}
}

// TestAt checks that a field's place in an example becomes its place in the
// file.
func TestAt(t *testing.T) {
	text := "> 1. 步骤\n>\n>    ```yaml\n>    metadata:\n>      标签: {名: 值, a: b}\n>    ```\n"
	e := Markdown("a.md", []byte(text)).Examples[0]
	column := strings.Index("  标签: {名: 值, a: b}", "a:") + 1
	at := e.At(2, column)
	line := []rune(strings.Split(text, "\n")[at.Line-1])
	if at.Line != 5 || string(line[at.Column-1:at.Column+1]) != "a:" {
		t.Errorf("%+v", at)
	}
}

func TestUTF16(t *testing.T) {
	d := Markdown("a.md", []byte("\xff\xfea\x00\n\x00"))
	if len(d.Findings) != 1 || !strings.Contains(d.Findings[0].Message, "UTF-16") {
		t.Errorf("%+v", d.Findings)
	}
}

// TestInvalidPlace checks the place of the first byte that isn't UTF-8.
func TestInvalidPlace(t *testing.T) {
	d := Markdown("a.md", []byte("\ufeff一\r\n二\xc3\n\xff"))
	if got := briefFindings(d); !reflect.DeepEqual(got, []string{"2:2 invalid-utf8"}) {
		t.Errorf("%v", got)
	}
}

func TestInputStays(t *testing.T) {
	text := "---\na: b\n---\rfoo\r```\n\xff"
	data := []byte(text)
	Markdown("a.md", data)
	if string(data) != text {
		t.Errorf("%q became %q", text, data)
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		text     string
		examples int
		message  string
	}{
		"size":     {strings.Repeat("a", MaxSize+1), 0, "bytes"},
		"lines":    {strings.Repeat("\r\n", MaxLines) + "\na", 0, "lines"},
		"examples": {strings.Repeat("```\na\n```\n", MaxExamples+10), MaxExamples, "examples"},
		"nesting":  {strings.Repeat("> ", maxDepth+2) + "a\n\n```\na\n```\n", 1, "nested"},
		"commands": {"```sh\n" + strings.Repeat("kubectl apply -f a\n", maxScript/18) + "```\n", 1, "commands"},
	} {
		d := Markdown("a.md", []byte(c.text))
		if len(d.Examples) != c.examples || len(d.Findings) != 1 || d.Findings[0].Rule != tooLarge.ID || !strings.Contains(d.Findings[0].Message, c.message) {
			t.Errorf("%s: %d examples, %+v", name, len(d.Examples), d.Findings)
		}
	}
	// Just below the limits nothing is said.
	for name, text := range map[string]string{
		"size":     strings.Repeat("a", MaxSize),
		"lines":    strings.Repeat("\r\n", MaxLines),
		"examples": strings.Repeat("```\na\n```\n", MaxExamples),
		"nesting":  strings.Repeat("> ", maxDepth) + "a\n",
	} {
		if d := Markdown("a.md", []byte(text)); len(d.Findings) > 0 {
			t.Errorf("%s: %+v", name, d.Findings)
		}
	}
	d := Markdown("a.md", []byte(strings.Repeat("<!-- labctl: foo -->\n\n", maxFindings+10)))
	if last := d.Findings[len(d.Findings)-1]; len(d.Findings) != maxFindings || last.Rule != tooLarge.ID {
		t.Errorf("%d findings, the last is %+v", len(d.Findings), last)
	}
}

// TestRules checks that what the tests above see are all rules there are.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if r.ID == "" || r.Title == "" || r.Help == "" || r.Severity == "" || seen[r.ID] {
			t.Errorf("%+v", r)
		}
		seen[r.ID] = true
	}
}
