package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// example is a document for one rule, with what it has to find: line and
// column in the document, and a part of the message. No finding is a case
// against the rule.
type example struct {
	name   string
	blocks []string
	want   []string
}

// cases are those of each rule.
var cases = map[string][]example{}

func TestRules(t *testing.T) {
	for _, r := range all {
		var speaks, silent bool
		for _, c := range cases[r.ID] {
			speaks = speaks || len(c.want) > 0
			silent = silent || len(c.want) == 0
			t.Run(r.ID+"/"+c.name, func(t *testing.T) {
				d, parsed := read(document(c.blocks...))
				var found []docs.Finding
				for _, f := range Check(d, parsed) {
					if f.Rule == r.ID {
						found = append(found, f)
						checkFinding(t, f, r.Rule)
					}
				}
				slices.SortStableFunc(found, func(a, b docs.Finding) int {
					return cmp.Or(a.Line-b.Line, a.Column-b.Column)
				})
				var got []string
				for _, f := range found {
					got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Message))
				}
				same := slices.EqualFunc(got, c.want, func(got, want string) bool {
					place, message, _ := strings.Cut(want, " ")
					return strings.HasPrefix(got, place+" ") && strings.Contains(got, message)
				})
				if !same {
					t.Errorf("got  %q\nwant %q\nin\n%s", got, c.want, document(c.blocks...))
				}
			})
		}
		if !speaks || !silent {
			t.Errorf("%s has no case %s", r.ID, map[bool]string{true: "against", false: "for"}[speaks])
		}
	}
	for id := range cases {
		if !slices.ContainsFunc(all, func(r rule) bool { return r.ID == id }) {
			t.Errorf("cases of %s, which is no rule", id)
		}
	}
}

func checkFinding(t *testing.T, f docs.Finding, r docs.Rule) {
	t.Helper()
	if f.Severity != r.Severity || f.Path != "page.md" || f.SHA256 == "" || f.Example == 0 {
		t.Errorf("incomplete finding %+v", f)
	}
	if f.End.Line != 0 && (f.End.Line != f.Line || f.End.Column <= f.Column) {
		t.Errorf("ends at %+v, before its start %+v", f.End, f.Position)
	}
}

// document puts blocks between fences: YAML, or a shell's if the first line is
// "#!".
func document(blocks ...string) string {
	var b strings.Builder
	for _, text := range blocks {
		language := "yaml"
		if rest, ok := strings.CutPrefix(text, "#!\n"); ok {
			language, text = "bash", rest
		} else if rest, ok := strings.CutPrefix(text, "#!toml\n"); ok {
			language, text = "toml", rest
		}
		fmt.Fprintf(&b, "```%s\n%s\n```\n\n", language, strings.Trim(text, "\n"))
	}
	return b.String()
}

// read does what stands before the rules; objects are told by apiVersion and
// kind alone.
func read(markdown string) (docs.Document, [][]yamldoc.Doc) {
	d := extract.Markdown("page.md", []byte(markdown))
	parsed := make([][]yamldoc.Doc, len(d.Examples))
	for i := range d.Examples {
		e := &d.Examples[i]
		e.Class = docs.Code
		if e.Language == "yaml" {
			e.Class = docs.Config
			parsed[i] = yamldoc.Parse(e.Text)
		}
	}
	return d, parsed
}

// Nothing is found in objects as they should be.
func TestGoodDocument(t *testing.T) {
	d, parsed := read(document(good...))
	for _, f := range Check(d, parsed) {
		t.Errorf("%d:%d %s: %s", f.Line, f.Column, f.Rule, f.Message)
	}
}

func TestRuleTexts(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules {
		if seen[r.ID] {
			t.Errorf("%s is there twice", r.ID)
		}
		seen[r.ID] = true
		if r.Title == "" || strings.HasSuffix(r.Title, ".") || !strings.HasSuffix(r.Help, ".") || len(r.Help) < 80 {
			t.Errorf("%s: title is half a sentence, help a few: %q, %q", r.ID, r.Title, r.Help)
		}
		if r.Severity != docs.Error && r.Severity != docs.Warning && r.Severity != docs.Note {
			t.Errorf("%s: severity %q", r.ID, r.Severity)
		}
	}
}

// A document of many objects that all could match each other, and one of many
// mistakes, take a bounded time.
func TestBounded(t *testing.T) {
	var pairs strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&pairs, `---
{apiVersion: v1, kind: Pod, metadata: {name: p%[1]d, labels: {app: web%[1]d}}, spec: {hostNetwork: true, containers: [{name: a, image: nginx, ports: [{containerPort: 80}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: s%[1]d}, spec: {selector: {app: web}, ports: [{port: 1}]}}
---
{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: deny-%[1]d}, spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}}
`, i)
	}
	mistakes := "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - name: a\n    image: nginx\n    securityContext:\n      capabilities:\n        add: [" +
		strings.Repeat("CAP_NET_ADMIN, ", 20_000) + "]\n" + strings.Repeat("x: 1\n", 20_000)
	for name, text := range map[string]string{"pairs": pairs.String(), "mistakes": mistakes} {
		start := time.Now()
		d, parsed := read(document(text))
		findings := Check(d, parsed)
		if len(findings) == 0 {
			t.Errorf("%s: nothing found", name)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s took %s", name, took)
		}
	}
}

// hostile are texts that are no objects, or hardly any.
var hostile = []string{
	"apiVersion: v1\nkind: Service\nmetadata: 5\nspec: [1, {ports: 3}]",
	"apiVersion: v1\nkind: Pod\nmetadata: {labels: {a: 1}, annotations: []}\nspec: {containers: {name: a}, volumes: x}",
	"apiVersion: v1\nkind: List\nitems: [1, {kind: Pod}, {apiVersion: v1, kind: List, items: [{}]}]",
	"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: deny-all}\nspec: {policyTypes: Egress, egress: [[], 5, {to: 1}]}",
	"apiVersion: v1\nkind: Pod\nmetadata: {name: \"\\e[31m\\0\"}\nspec: {containers: [{image: \"\\e[31m<x y>\\0\", name: a}]}",
	"kind: &a [*a]\napiVersion: v1",
	strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
}

// Whatever stands in a document, rules end, and their findings can be shown.
func FuzzCheck(f *testing.F) {
	for _, text := range slices.Concat(hostile, good) {
		f.Add(text)
	}
	for _, list := range cases {
		for _, c := range list {
			f.Add(c.blocks[0])
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, parsed := read(document(text))
		lines := strings.Count(document(text), "\n") + 1
		for _, found := range Check(d, parsed) {
			if strings.ContainsFunc(found.Message, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("control characters in %q", found.Message)
			}
			if found.Line < 1 || found.Line > lines {
				t.Errorf("line %d of %d", found.Line, lines)
			}
		}
	})
}
