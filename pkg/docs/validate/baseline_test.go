package validate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBaseline(t *testing.T) {
	files := map[string]string{"a.md": pod("a", "") + pod("a", ""), "b.md": pod("b", "")}
	root := written(t, files)
	f := &fake{}
	o := Options{Root: root, Judge: f.start, Rules: []string{"api-rejected", "baseline-stale", "unclosed-fence"}}
	again := func(b *Baseline) Outcome { o := o; o.Baseline = b; return run1(t, o) }
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	base := run1(t, o).Baseline
	// The two in a.md are the same: one entry.
	if len(base.Findings) != 2 || base.Findings[0].Count != 2 || base.Findings[1].Count != 0 {
		t.Fatalf("%+v", base)
	}
	if out := again(&base); len(out.Findings) != 0 || out.Report.Baseline != 3 {
		t.Errorf("the same again: %q, %d known", places(out.Report), out.Report.Baseline)
	}
	write("a.md", "new\n\nlines\n\n"+files["a.md"])
	if out := again(&base); len(out.Findings) != 0 || out.Report.Baseline != 3 {
		t.Errorf("lines moved: %q, %d known", places(out.Report), out.Report.Baseline)
	}
	write("a.md", files["a.md"]+pod("a", ""))
	if out := again(&base); !slices.Equal(places(out.Report), []string{"a.md:28 api-rejected"}) {
		t.Errorf("one more of the same: %q", places(out.Report))
	}
	write("a.md", pod("a", ""))
	write("b.md", pod("changed", ""))
	out := again(&base)
	if !slices.Equal(places(out.Report), []string{"a.md:0 baseline-stale", "b.md:0 baseline-stale", "b.md:4 api-rejected"}) {
		t.Errorf("one fixed, one changed: %q", places(out.Report))
	}
	if !strings.Contains(out.Findings[0].Message, "has 1 more of api-rejected (no Pod) in kind than there are") {
		t.Errorf("got %s", out.Findings[0].Message)
	}
	// A run that doesn't look at b.md, or not for this rule, says nothing of it.
	partial := o
	partial.Baseline, partial.Paths = &base, []string{"a.md"}
	out = run1(t, partial)
	if !slices.Equal(places(out.Report), []string{"a.md:0 baseline-stale"}) {
		t.Errorf("of one file: %q", places(out.Report))
	}
	if i := slices.IndexFunc(out.Baseline.Findings, func(e Entry) bool { return e.Path == "b.md" }); i < 0 {
		t.Errorf("a baseline of one file forgets the others: %+v", out.Baseline)
	}
	partial = o
	partial.Baseline, partial.Judge = &base, nil
	if out := run1(t, partial); len(out.Findings) != 0 || len(out.Baseline.Findings) != 2 {
		t.Errorf("without a judge: %q, %+v", places(out.Report), out.Baseline)
	}
	// A document that is gone is one of fixed findings.
	if err := os.Remove(filepath.Join(root, "b.md")); err != nil {
		t.Fatal(err)
	}
	if out := again(&base); !slices.Equal(places(out.Report), []string{"a.md:0 baseline-stale", "b.md:0 baseline-stale"}) {
		t.Errorf("one is gone: %q", places(out.Report))
	}
	rebase := o
	rebase.Baseline, rebase.Rebase = &base, true
	if out := run1(t, rebase); len(out.Findings) != 0 || out.Report.Baseline != 1 || len(out.Baseline.Findings) != 1 {
		t.Errorf("written again: %q, %+v", places(out.Report), out.Baseline)
	}
}

func TestBaselineFile(t *testing.T) {
	b := Baseline{[]Entry{{Path: "a\xff<b>.md", Rule: "r", Field: "spec", SHA256: "ab", Count: 2, Message: "m"}, {Path: "b", Rule: "r"}}}
	data, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ReadBaseline(data)
	if err != nil || len(back.Findings) != 2 || back.Findings[0].Path != "a\ufffd<b>.md" || back.Findings[0].Count != 2 {
		t.Errorf("%+v, %v", back, err)
	}
	empty, err := Baseline{}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ReadBaseline(empty); err != nil || len(back.Findings) != 0 {
		t.Errorf("%+v, %v", back, err)
	}
	for name, text := range map[string]string{
		"nothing":       "",
		"no JSON":       "findings:",
		"another kind":  `{"apiVersion": "labctl.dev/v1alpha1", "kind": "Result"}`,
		"unknown field": `{"apiVersion": "labctl.dev/v1alpha1", "kind": "DocsBaseline", "rules": []}`,
		"version":       `{"apiVersion": "labctl.dev/v9", "kind": "DocsBaseline", "findings": []}`,
	} {
		if _, err := ReadBaseline([]byte(text)); err == nil {
			t.Errorf("%s was read as a baseline", name)
		}
	}
}
