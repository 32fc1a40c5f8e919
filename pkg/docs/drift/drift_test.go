package drift_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/drift"
	"github.com/isolation-stack/labctl/pkg/lab"
)

const (
	catalogue = "../../lab/testdata/catalogue"
	file      = "kernel-identity/lab.yaml"
)

func labs(t *testing.T, fsys fs.FS) []*lab.Lab {
	t.Helper()
	labs, problems := lab.Catalogue(fsys)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return labs
}

// document is that of the lab, with a text in place of another.
func document(t *testing.T, old, now string) fstest.MapFS {
	t.Helper()
	b, err := os.ReadFile("../../lab/testdata/docs/kernels.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("no %q in the document", old)
	}
	return fstest.MapFS{"kernels.md": {Data: bytes.Replace(b, []byte(old), []byte(now), 1)}}
}

func TestCheck(t *testing.T) {
	type counts map[lab.Drift]int
	for name, c := range map[string]struct {
		documents fs.FS
		want      counts
		ok        bool
		message   string
	}{
		"unchanged":       {document(t, "", ""), counts{lab.Unchanged: 3}, true, ""},
		"CRLF":            {fstest.MapFS{"kernels.md": {Data: bytes.ReplaceAll(document(t, "", "")["kernels.md"].Data, []byte("\n"), []byte("\r\n"))}}, counts{lab.Unchanged: 3}, true, ""},
		"moved":           {document(t, "# Kernels\n", "# Kernels\n\nNew.\n"), counts{lab.Moved: 3}, true, "ex-1 of lab kernel-identity: the text moved from line 9 to line 11 (kernel-identity/lab.yaml:20:36)"},
		"changed":         {document(t, "no kernel", "a kernel"), counts{lab.Unchanged: 2, lab.Changed: 1}, false, `ex-1 of lab kernel-identity: the text of line 9 changed; look under the heading "1. Containers"`},
		"another heading": {document(t, "## 2. Sandboxes", "## 3. Sandboxes"), counts{lab.Unchanged: 1, lab.Changed: 2}, false, `ex-2 of lab kernel-identity: the text is at line 14, under the heading "3. Sandboxes" instead of "2"`},
		"gone":            {document(t, "## 2. Sandboxes\n\nA gVisor sandbox answers with the node's kernel release.", ""), counts{lab.Unchanged: 1, lab.Gone: 2}, false, `neither the text of line 14 nor the heading "2" is there any more`},
		"no document":     {fstest.MapFS{}, counts{lab.Gone: 3}, false, "ex-1 of lab kernel-identity: there is no such document any more"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := drift.Check(labs(t, os.DirFS(catalogue)), c.documents, "docs")
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []lab.Drift{lab.Unchanged, lab.Moved, lab.Changed, lab.Gone} {
				if r.Counts[d] != c.want[d] {
					t.Errorf("%s: %d, want %d", d, r.Counts[d], c.want[d])
				}
			}
			if r.OK() != c.ok {
				t.Errorf("OK is %v", r.OK())
			}
			findings := r.Findings("v1").Findings
			if len(findings) != 3-r.Counts[lab.Unchanged] {
				t.Errorf("%d findings", len(findings))
			}
			if c.message != "" && !strings.Contains(findings[0].Message, c.message) {
				t.Errorf("got  %s\nwant %s", findings[0].Message, c.message)
			}
			for _, f := range findings {
				known := false
				for _, rule := range drift.Rules {
					known = known || (rule.ID == f.Rule && rule.Severity == f.Severity)
				}
				if !known {
					t.Errorf("%s of severity %s is no rule", f.Rule, f.Severity)
				}
			}
		})
	}
}

type denied struct{}

func (denied) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestUnreadable(t *testing.T) {
	if _, err := drift.Check(labs(t, os.DirFS(catalogue)), denied{}, "docs"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// TestFix moves texts, fixes the lab, and wants nothing but the lines to be
// different and everything to be where the lab says.
func TestFix(t *testing.T) {
	text, err := os.ReadFile(catalogue + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	documents := document(t, "# Kernels\n", "# Kernels\n"+strings.Repeat("\n", 100))
	before, err := drift.Check(labs(t, os.DirFS(catalogue)), documents, "docs")
	if err != nil {
		t.Fatal(err)
	}
	fixed, n, err := drift.Fix(file, text, before.Ties)
	if err != nil || n != 3 {
		t.Fatalf("%d fixed, %v", n, err)
	}
	want := strings.NewReplacer("line: 9,", "line: 109,", "line: 14,", "line: 114,").Replace(string(text))
	if string(fixed) != want {
		t.Errorf("got %s", fixed)
	}
	after, err := drift.Check(labs(t, fstest.MapFS{file: {Data: fixed}}), documents, "docs")
	if err != nil || after.Counts[lab.Unchanged] != 3 {
		t.Errorf("%+v, %v", after, err)
	}
	// What isn't in this file, and a file that isn't the one that was checked.
	if b, n, err := drift.Fix("another.yaml", text, before.Ties); n != 0 || err != nil || !bytes.Equal(b, text) {
		t.Errorf("another file: %d, %v", n, err)
	}
	for _, edited := range []string{"", "# new first line\n" + string(text), strings.ReplaceAll(string(text), "line: 9,", "line: 91,"), strings.ReplaceAll(string(text), "line: 9,", "line: *n,")} {
		if _, _, err := drift.Fix(file, []byte(edited), before.Ties); err == nil || !strings.Contains(err.Error(), "by hand") {
			t.Errorf("another text: %v", err)
		}
	}
}

// TestFixColumns has several lines on one line of the file, behind text that
// isn't ASCII.
func TestFixColumns(t *testing.T) {
	text := "# x\n甲: {line: 1}, 乙: {line: 20}\n"
	got, n, err := drift.Fix("f", []byte(text), []drift.Tie{
		{File: "f", FileLine: 2, FileColumn: 11, Line: 1, Now: 1000, Drift: lab.Moved},
		{File: "f", FileLine: 2, FileColumn: 25, Line: 20, Now: 3, Drift: lab.Moved},
		{File: "f", FileLine: 2, FileColumn: 25, Line: 20, Now: 4, Drift: lab.Changed},
	})
	if err != nil || n != 2 || string(got) != "# x\n甲: {line: 1000}, 乙: {line: 3}\n" {
		t.Errorf("%q, %d, %v", got, n, err)
	}
}

func TestFindingsHaveNoLineOfWhatIsGone(t *testing.T) {
	r, err := drift.Check(labs(t, os.DirFS(catalogue)), fstest.MapFS{}, "docs")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings("v1").Findings {
		if f.Position != (docs.Position{}) {
			t.Errorf("%+v", f)
		}
	}
}
