package yamldoc

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want string // per document: "first-last" lines, then "!line:column message" or the root's kind
	}{
		"nothing":             {"", ""},
		"comments":            {"# a\n\n# b\n", ""},
		"one":                 {"a: 1\n", "1-1 map"},
		"markers":             {"---\na: 1\n---\nb: 2\n...\n", "2-2 map, 4-4 map"},
		"empty between":       {"---\n---\n# c\n---\na: 1\n", "5-5 map"},
		"marker with content": {"--- {a: 1}\n--- # c\nb: 2\n", "1-1 map, 3-3 map"},
		"directives":          {"%YAML 1.1\n---\na: 1\n...\n%YAML 1.2\n---\nb: 1\n", "3-3 map, 7-7 map"},
		"crlf":                {"a: 1\r\n---\r\nb: 2\r\n", "1-1 map, 3-3 map"},
		"marker in a block":   {"a: |\n  x\n---\nb: 2\n", "1-2 map, 4-4 map"},
		"indented marker":     {"a: |\n  ---\n  x\n", "1-3 map"},
		"four dashes":         {"a:\n  b\n----: 1\n", "1-3 map"},
		"byte order mark":     {"\ufeffa: 1\n", "1-1 map"},
		"goes on": {"a: 1\n---\nb: [1\n---\nc: 3\n",
			"1-1 map, 3-3 !3:1 did not find expected ',' or ']', 5-5 map"},
		"values not allowed":  {"x: 1\na: b: c\n", "1-2 !2:5 mapping values are not allowed in this context"},
		"bad indentation":     {"a:\n    b: 1\n  c: 2\nd: 3\n", "1-4 !3:3 did not find expected key"},
		"no colon":            {"a: 1\nb\nc: 2\n", "1-3 !2:1 could not find expected ':'"},
		"open quote":          {"a: 1\nb: \"x\nc: 2\n\n", "1-3 !2:1 found unexpected end of stream"},
		"tab":                 {"a:\n\tb: 1\n", "1-2 !2:1 found character that cannot start any token"},
		"template":            {"a: 1\n  {{ x }}\nb: {{ .Values.x }}y\n", "1-3 !3:1 did not find expected key"},
		"reserved character":  {"a: `x`\n", "1-1 !1:4 found character that cannot start any token"},
		"invalid utf-8":       {"a: 1\nb: \xff\n", "1-2 !2:4 invalid leading UTF-8 octet"},
		"control character":   {"a: 1\nb: x\x1b[0m\n", "1-2 !2:5 control characters are not allowed"},
		"unknown anchor":      {"a: 1\nb: *x\n", "1-2 !2:1 unknown anchor 'x' referenced"},
		"more than one value": {"\"a\"\nb\n", "1-2 !2:1 did not find expected <document start>"},
		"more after a flow":   {"{a: 1}\n{b: 2}\n", "1-2 !2:1 did not find expected <document start>"},
		"a scalar":            {"just words\n", "1-1 scalar"},
		"a list":              {"# c\n- a\n- b\n", "2-3 list"},
		"on the third's line": {"\n\na: *x\n", "3-3 !3:1 unknown anchor 'x' referenced"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range Parse(tt.text) {
				s := fmt.Sprintf("%d-%d ", d.Line, d.EndLine)
				if d.Err != nil {
					s += fmt.Sprintf("!%d:%d %v", d.ErrLine, d.ErrColumn, d.Err)
				} else {
					s += []string{2: "list", 4: "map", 8: "scalar"}[d.Node.Kind]
				}
				got = append(got, s)
			}
			if s := strings.Join(got, ", "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

const deployment = `# a Deployment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "网页" # 中文
  labels: {app.kubernetes.io/name: web, 层: 前}
  annotations:
    example.org/a.b: x
    example: y
spec:
  template:
    spec:
      containers:
      - name: web
        image: &image nginx:1.29
        ports:
        - containerPort: 80
          name: http
        - {containerPort: 443, protocol: TCP}
        args: []
        env:
      - name: side
        image: *image
data:
  a.yaml: |
    x: 1
  a: short
`

func TestFind(t *testing.T) {
	d := Parse("kind: first\n---\n" + deployment)[1]
	for _, tt := range []struct {
		path, value, key, end string // line:column, "-" before those of a missing field
	}{
		{"", "4:1", "4:1", "4:11"},
		{"kind", "5:7", "5:1", "5:17"},
		{"metadata", "6:1", "6:1", "6:9"},
		{"metadata.name", "7:9", "7:3", "7:17"},
		{"metadata.labels[app.kubernetes.io/name]", "8:36", "8:12", "8:39"},
		{"metadata.labels.app.kubernetes.io/name", "8:36", "8:12", "8:39"},
		{"metadata.labels.层", "8:46", "8:41", "8:49"},
		{"metadata.annotations.example.org/a.b", "10:22", "10:5", "10:23"},
		{"metadata.annotations.example", "11:14", "11:5", "11:15"},
		{"metadata.annotations[\"example.org/a.b\"]", "10:22", "10:5", "10:23"},
		{"spec.template.spec.containers[0].image", "17:16", "17:9", "17:33"},
		{"spec.template.spec.containers[1]", "24:9", "24:9", "24:13"},
		{"spec.template.spec.containers[1].image", "25:16", "25:9", "25:22"},
		{"spec.template.spec.containers[0].args", "22:9", "22:9", "22:13"},
		{"spec.template.spec.containers[0].env", "23:9", "23:9", "23:12"},
		{`.spec.template.spec.containers[name="side"].image`, "25:16", "25:9", "25:22"},
		{`.spec.template.spec.containers[name="web"].ports[containerPort=80,protocol="TCP"].name`, "20:17", "20:11", "20:21"},
		{`.spec.template.spec.containers[name="web"].ports[containerPort=443].protocol`, "21:42", "21:32", "21:45"},
		{"data.a", "29:6", "29:3", "29:11"},
		{"data.a.yaml", "27:11", "27:3", "27:12"},
		{"data[a.yaml]", "27:11", "27:3", "27:12"},
		{"spec.replicas", "-12:1", "-12:1", "-12:5"},
		{"spec.template.spec.containers[0].imag", "-16:9", "-16:9", "-16:13"},
		{"spec.template.spec.containers[7].image", "-15:7", "-15:7", "-15:17"},
		{"kind.of", "-5:7", "-5:1", "-5:17"},
		{"nowhere", "-4:1", "-4:1", "-4:11"},
	} {
		at := func(line, column int, ok bool) string {
			s := fmt.Sprintf("%d:%d", line, column)
			if !ok {
				s = "-" + s
			}
			return s
		}
		if got := at(d.Find(tt.path)); got != tt.value {
			t.Errorf("Find(%s) = %s, want %s", tt.path, got, tt.value)
		}
		if got := at(d.FindKey(tt.path)); got != tt.key {
			t.Errorf("FindKey(%s) = %s, want %s", tt.path, got, tt.key)
		}
		if got := at(d.End(tt.path)); got != tt.end {
			t.Errorf("End(%s) = %s, want %s", tt.path, got, tt.end)
		}
	}
	if o, ok := d.Object(); !ok || o.APIVersion != "apps/v1" || o.Kind != "Deployment" || o.Name != "网页" || o.Line != 4 {
		t.Errorf("Object() = %+v, %v", o, ok)
	}
}

func TestFindMerged(t *testing.T) {
	d := Parse("base: &base {cpu: 1, memory: 2}\na:\n  <<: *base\n  cpu: 3\n")[0]
	if line, column, ok := d.Find("a.memory"); line != 1 || column != 30 || !ok {
		t.Errorf("a.memory at %d:%d, %v", line, column, ok)
	}
	if line, _, _ := d.Find("a.cpu"); line != 4 {
		t.Errorf("a.cpu on line %d", line)
	}
}

func TestDuplicates(t *testing.T) {
	d := Parse("a: 1\nb:\n  - c: {x: 1, x: 2}\n    d.e: 1\n    d.e: 2\na: 3\n")[0]
	want := "[{a 6 1 1} {b[0][d.e] 5 5 4} {b[0].c.x 3 15 3}]"
	if got := fmt.Sprint(d.Duplicates); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if d := Parse("a: {b: 1}\nc: {b: 1}\n")[0]; d.Duplicates != nil {
		t.Errorf("duplicates %v of a document without", d.Duplicates)
	}
}

func TestSplit(t *testing.T) {
	object := func(kind, name string) string {
		return "apiVersion: v1\nkind: " + kind + "\nmetadata:\n  name: " + name + "\n"
	}
	text := "x: 1\n---\n" + object("ConfigMap", "a") + "# comment\n" + object("Secret", "b") + object("Pod", "c")
	d := Parse(text)[1]
	var got []string
	for _, part := range d.Split() {
		o, _ := part.Object()
		line, _, _ := part.Find("metadata.name")
		got = append(got, fmt.Sprint(o.Kind, " ", o.Name, " ", o.Line, " ", line, " ", part.EndLine))
	}
	if want := "ConfigMap a 3 6 6, Secret b 8 11 11, Pod c 12 15 15"; strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	for _, text := range []string{
		object("Pod", "a"),
		"apiVersion: v1\nkind: Pod\nkind: Service\nmetadata: {}\n",
		"apiVersion: v1\nkind: Pod\napiVersion: v1\n",
		"- a\n", "a\n", "a: [\n",
	} {
		if parts := Parse(text)[0].Split(); len(parts) != 1 {
			t.Errorf("%d parts of %q", len(parts), text)
		}
	}
}

func TestJSON(t *testing.T) {
	for text, want := range map[string]string{
		"a: on\nb: 0o14\nc: 014\n1: yes\nd: 1e3\ne: 2026-01-01": `{"1":true,"a":true,"b":12,"c":12,"d":1000,"e":"2026-01-01"}`,
		"a: 1\na: 2":             `{"a":2}`,
		"a: &x [1]\nb: *x":       `{"a":[1],"b":[1]}`,
		"a: &a [*a]":             "!",
		bomb(9, 9):               "!",
		"x: &x " + lines(1) + "": `{"x":"a"}`,
		"a: [":                   "!",
		"? [a]\n: 1":             "!",
	} {
		d := Parse(text)[0]
		got, err := d.JSON()
		if want == "!" {
			if err == nil {
				t.Errorf("%.40q gives %.40s", text, got)
			}
		} else if string(got) != want {
			t.Errorf("%q gives %s, %v; want %s", text, got, err, want)
		}
	}
}

// bomb is a document of some lists, each of which has the one before several
// times.
func bomb(levels, times int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "a0: &a0 [x]\n")
	for i := range levels {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), times), ", "))
	}
	return b.String()
}

func lines(n int) string { return strings.Repeat("a\n", n) }

// TestHostile shows that no text takes long.
func TestHostile(t *testing.T) {
	var steps strings.Builder
	for i := range 1500 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var chain strings.Builder
	chain.WriteString("a0: &a0 x\n")
	for i := range 30 {
		fmt.Fprintf(&chain, "a%d: &a%d %s*a%d%s\n", i+1, i+1, strings.Repeat("[", 9000), i, strings.Repeat("]", 9000))
	}
	for name, text := range map[string]string{
		"too large":            strings.Repeat("a", maxText+1),
		"flow lists":           strings.Repeat("[", 10_001),
		"closed flow lists":    strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999),
		"flow lists forever":   strings.Repeat("[", maxText),
		"flow mappings":        strings.Repeat("{a: ", 9_000) + strings.Repeat("}", 9_000),
		"duplicates":           strings.Repeat("{a: 1, a: ", 9_000) + strings.Repeat("}", 9_000),
		"block lists":          strings.Repeat("- ", 9_999) + "a",
		"block lists forever":  strings.Repeat("- ", maxText/2),
		"block mappings":       steps.String(),
		"explicit keys":        strings.Repeat("? ", 9_000) + "a",
		"aliases":              bomb(9, 9),
		"chain of aliases":     chain.String(),
		"keys":                 strings.Repeat("a: 1\n", maxText/5-1),
		"one line":             "[" + strings.Repeat("é,", maxText/3-1) + "]",
		"documents":            strings.Repeat("--- a\n", maxText/6),
		"broken documents":     strings.Repeat("--- [\n", maxText/6),
		"comments":             strings.Repeat("# a\n", maxText/4-2) + "a: 1\n",
		"comments in a list":   strings.Repeat("- a # b\n# c\n", maxText/12),
		"spaces":               strings.Repeat(" ", maxText-2) + "a",
		"blank lines":          "a: |\n" + strings.Repeat("\n", maxText-6),
		"an open quote":        `"` + strings.Repeat("a ", maxText/2-1),
		"words":                strings.Repeat("a ", maxText/2-1) + "\n",
		"lines of words":       strings.Repeat("word\n", maxText/5-2) + "a: 1\n",
		"colons":               strings.Repeat("a: ", 20_000),
		"an open quote, small": `a: "` + strings.Repeat("a ", maxSearch/2-4),
		"flow, small":          strings.Repeat("[a, ", maxSearch/4-4),
		"anchors":              strings.Repeat("- &a a\n", maxText/7),
		"nul":                  strings.Repeat("\x00", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			for _, d := range Parse(text) {
				_, _ = d.JSON()
				d.Split()
				d.Find("a.a[0].a.b")
				d.End("a.a[0].a.b")
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%d bytes took %v", len(text), took)
			} else {
				t.Log(took)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		deployment, "--- a\n...\n%YAML 1.1\n---\nb: [1\n", "a: &a [*a]\n", bomb(3, 3), "\ufeffa\u2028b: \r1\u0085\n",
		"apiVersion: v1\nkind: A\napiVersion: v1\nkind: B\n", "? [a]\n: b\n<<: {c: d}\n", "a:\n\tb\n", "'a''b': \"\\\"\" # c\n",
	} {
		f.Add(s, "spec.containers[name=\"a\"].b[0]")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		last := strings.Count(text, "\n") + 1
		line := 0
		for _, d := range Parse(text) {
			if d.Line <= line || d.EndLine < d.Line || d.EndLine > last {
				t.Errorf("document of lines %d to %d after line %d of %d", d.Line, d.EndLine, line, last)
			}
			line = d.EndLine
			if d.Err != nil && (d.ErrLine < 1 || d.ErrLine > last || d.ErrColumn < 0) {
				t.Errorf("an error at %d:%d of %d lines", d.ErrLine, d.ErrColumn, last)
			}
			for _, path := range []string{path, "a", ""} {
				if l, c, _ := d.End(path); l < 1 || l > last || c < 1 {
					t.Errorf("the end of %q is at %d:%d of %d lines", path, l, c, last)
				}
			}
			for _, dup := range d.Duplicates {
				if dup.Line < dup.FirstLine || dup.Line > last || dup.Column < 1 {
					t.Errorf("duplicate %+v of %d lines", dup, last)
				}
			}
			for _, part := range d.Split() {
				part.Object()
			}
			if j, err := d.JSON(); err == nil && len(j) == 0 {
				t.Error("no JSON and no error")
			}
		}
	})
}
