package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/isolation-stack/labctl/pkg/docs"
)

func TestClasses(t *testing.T) {
	page := "```yaml\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n```\n\n```yaml\nnotes: first this, then that\n```\n"
	blocks := []block{
		{File: "a.md", Line: 1, End: 5, Class: "k8s-core"},
		{File: "a.md", Line: 7, End: 9, Class: "config", Remark: "of a shop"},
		{File: "a.md", Line: 20, End: 22, Class: "notes"},
	}
	c, err := compareClasses(fstest.MapFS{"a.md": {Data: []byte(page)}}, blocks)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c.print(&out)
	if c.total != 3 || c.agree != 1 || c.good() || !strings.Contains(out.String(), "a.md:7: config in the map (of a shop), here prose") || !strings.Contains(out.String(), "a.md:20: notes in the map (), here missing") {
		t.Error(out.String())
	}
	if c, err = compareClasses(fstest.MapFS{"a.md": {Data: []byte(page)}}, blocks[:1]); err != nil || !c.good() {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err = compareClasses(fstest.MapFS{}, blocks); err == nil {
		t.Error("no error without the documents")
	}
}

func TestFindings(t *testing.T) {
	refused := block{File: "docs/a.md", Line: 10, End: 20, Class: "k8s-core-bug", Bug: "R", Remark: "no selector"}
	accepted := block{File: "docs/a.md", Line: 30, End: 40, Class: "k8s-core", Remark: "content invalid: exporter removed"}
	selector := docs.Finding{Severity: docs.Error, Path: "a.md", Position: docs.Position{Line: 12}, Field: "spec.selector", Message: "Required value"}
	for name, tt := range map[string]struct {
		findings []docs.Finding
		good     bool
	}{
		"right":           {[]docs.Finding{selector}, true},
		"none":            {nil, false},
		"another reason":  {[]docs.Finding{with(selector, func(f *docs.Finding) { f.Field = "spec.image" })}, false},
		"another place":   {[]docs.Finding{with(selector, func(f *docs.Finding) { f.Line = 9 })}, false},
		"no error":        {[]docs.Finding{with(selector, func(f *docs.Finding) { f.Severity = docs.Warning })}, false},
		"another file":    {[]docs.Finding{with(selector, func(f *docs.Finding) { f.Path = "b.md" })}, false},
		"accepted, error": {[]docs.Finding{selector, with(selector, func(f *docs.Finding) { f.Line = 31 })}, false},
		"content":         {[]docs.Finding{selector, with(selector, func(f *docs.Finding) { f.Line, f.Field = 31, "data[a.yaml]" })}, true},
	} {
		if f := compareFindings(docs.Report{Findings: tt.findings}, []block{refused, accepted}); f.good() != tt.good {
			t.Errorf("%s: good is %v: %+v", name, f.good(), f)
		}
	}
}

func with(f docs.Finding, change func(*docs.Finding)) docs.Finding {
	change(&f)
	return f
}
