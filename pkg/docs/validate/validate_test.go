package validate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// pod is a page with one example: a Pod. What rules say of it isn't the
// matter here, so tests name the rules that they are about.
func pod(name, more string) string {
	return "# " + name + "\n\n" + more + "```yaml\napiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\nspec:\n  containers:\n  - name: main\n    image: nginx\n```\n"
}

const certificate = "# 证书\n\n```yaml\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: web}\nspec: {}\n```\n"

// written writes documents below a folder of the test.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fake is a judge that refuses every object.
type fake struct {
	started, closed atomic.Int32
	prepared        []map[schema.GroupKind]bool
	paths           []string
	early           []schema.GroupKind // used before they were prepared
	prepare, judge  error
	begin           func(context.Context) error
	wait            chan struct{}
}

func (f *fake) start(ctx context.Context) (Judge, error) {
	f.started.Add(1)
	if f.begin != nil {
		if err := f.begin(ctx); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *fake) Prepare(_ context.Context, kinds map[schema.GroupKind]bool) error {
	f.prepared = append(f.prepared, kinds)
	return f.prepare
}

func (f *fake) Document(ctx context.Context, d docs.Document, parsed [][]yamldoc.Doc) ([]docs.Finding, error) {
	f.paths = append(f.paths, d.Path)
	for _, k := range objectKinds(d) {
		if !slices.ContainsFunc(f.prepared, func(p map[schema.GroupKind]bool) bool { return p[k] }) {
			f.early = append(f.early, k)
		}
	}
	if f.wait != nil {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-f.wait:
		}
	}
	if f.judge != nil {
		return nil, f.judge
	}
	if len(parsed) != len(d.Examples) {
		return nil, fmt.Errorf("%d examples, %d parsed", len(d.Examples), len(parsed))
	}
	var out []docs.Finding
	for i, e := range d.Examples {
		for _, p := range parsed[i] {
			if o, ok := p.Object(); ok {
				out = append(out, docs.Finding{Rule: "api-rejected", Severity: docs.Error, Path: d.Path, Position: e.At(p.Line, 1), Message: "no " + o.Kind, Field: "kind", Example: e.Line, SHA256: e.SHA256})
			}
		}
	}
	return out, nil
}

func (*fake) Version() string { return "v1.0.0" }
func (f *fake) Close() error  { f.closed.Add(1); return nil }

// places are the findings, as PATH:LINE RULE.
func places(r docs.Report) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s:%d %s", f.Path, f.Line, f.Rule))
	}
	return out
}

func run1(t *testing.T, o Options) Outcome {
	t.Helper()
	out, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRun(t *testing.T) {
	root := written(t, map[string]string{
		"b/web.md":          pod("web", "") + "\n" + pod("db", ""),
		"a.md":              pod("a", "") + "```yaml\nkey: {\n",
		"证书.md":             certificate,
		"prose.md":          "# Nothing\n\n```go\npackage main\n```\n",
		"node_modules/x.md": pod("x", ""),
		"notes.txt":         pod("x", ""),
	})
	f := &fake{}
	var heard []string
	out := run1(t, Options{Root: root, Judge: f.start, Rules: []string{"api-rejected", "unclosed-fence"}, Version: "v9", Document: func(d docs.Document) { heard = append(heard, d.Path) }})
	want := []string{"a.md:4 api-rejected", "a.md:13 unclosed-fence", "b/web.md:4 api-rejected", "b/web.md:17 api-rejected", "证书.md:4 api-rejected"}
	if got := places(out.Report); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if want := []string{"a.md", "b/web.md", "prose.md", "证书.md"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
	if want := []string{"a.md", "b/web.md", "证书.md"}; !slices.Equal(f.paths, want) {
		t.Errorf("judged %q", f.paths)
	}
	if f.started.Load() != 1 || f.closed.Load() != 1 || len(f.early) > 0 {
		t.Errorf("started %d times, closed %d, not prepared %q", f.started.Load(), f.closed.Load(), f.early)
	}
	if out.Documents != 4 || out.Examples[docs.Kubernetes] != 3 || out.Examples[docs.Custom] != 1 || out.Examples[docs.Code] != 1 || out.Server != "v1.0.0" || out.Labctl != "v9" {
		t.Errorf("%+v", out.Report)
	}
	if len(out.Rules) != 2 || out.Rules[0].ID != "api-rejected" {
		t.Errorf("rules: %+v", out.Rules)
	}
}

// TestPreparedFirst proves that kinds are prepared before their document.
func TestPreparedFirst(t *testing.T) {
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("%03d.md", i)] = fmt.Sprintf("```yaml\napiVersion: g%d.example.org/v1\nkind: K\nmetadata: {name: x}\n```\n", i)
	}
	f := &fake{}
	out := run1(t, Options{Root: written(t, files), Judge: f.start, Rules: []string{"api-rejected"}})
	if len(out.Findings) != 300 || len(f.paths) != 300 || len(f.early) > 0 || !slices.IsSorted(f.paths) {
		t.Errorf("%d findings, %d judged, not prepared %v", len(out.Findings), len(f.paths), f.early)
	}
}

func TestNoJudgeWhereNothingIsToJudge(t *testing.T) {
	object := map[string]string{"a.md": pod("a", "")}
	for name, c := range map[string]struct {
		files map[string]string
		rules []string
		want  int32
	}{
		"an object":         {object, nil, 1},
		"no object":         {map[string]string{"a.md": "# A\n\n```yaml\na: 1\n```\n"}, nil, 0},
		"no document":       {nil, nil, 0},
		"no rule of judges": {object, []string{"unclosed-fence"}, 0},
		"skipped":           {map[string]string{"a.md": pod("a", "<!-- labctl: skip reason=\"a test\" -->\n")}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			out := run1(t, Options{Root: written(t, c.files), Judge: f.start, Rules: c.rules})
			if f.started.Load() != c.want || f.closed.Load() != c.want {
				t.Errorf("started %d times, closed %d", f.started.Load(), f.closed.Load())
			}
			if (out.Server != "") != (c.want == 1) {
				t.Errorf("server %q", out.Server)
			}
		})
	}
	out := run1(t, Options{Root: written(t, object)})
	if i := slices.IndexFunc(out.Rules, func(r docs.Rule) bool { return r.ID == "api-rejected" }); i >= 0 {
		t.Error("without a judge there is a rule of judges")
	}
}

func TestErrors(t *testing.T) {
	root := written(t, map[string]string{"a.md": pod("a", ""), "b.md": pod("b", "")})
	broken := errors.New("broken")
	for name, f := range map[string]*fake{
		"start":   {begin: func(context.Context) error { return broken }},
		"prepare": {prepare: broken},
		"judge":   {judge: broken},
	} {
		_, err := Run(t.Context(), Options{Root: root, Judge: f.start})
		if !errors.Is(err, broken) || f.closed.Load() != map[string]int32{"start": 0}[name]+min(int32(len(f.prepared)), 1) {
			t.Errorf("%s: %v, closed %d times", name, err, f.closed.Load())
		}
	}
	if _, err := Run(t.Context(), Options{Root: root, Rules: []string{"no-such-rule"}}); err == nil {
		t.Error("an unknown rule")
	}
	if _, err := Run(t.Context(), Options{Root: filepath.Join(root, "none")}); err == nil {
		t.Error("a folder that isn't there")
	}
}

// TestInterrupted ends runs while the judge starts and while it judges.
func TestInterrupted(t *testing.T) {
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprintf("%d.md", i)] = pod("a", strings.Repeat("text\n", 2000))
	}
	root := written(t, files)
	for name, f := range map[string]*fake{
		"start": {begin: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }},
		"judge": {wait: make(chan struct{})},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		_, err := Run(ctx, Options{Root: root, Judge: f.start})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 3*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
		if f.started.Load() != 1 || (name == "judge") != (f.closed.Load() == 1) {
			t.Errorf("%s: started %d times, closed %d", name, f.started.Load(), f.closed.Load())
		}
	}
}

func TestMarks(t *testing.T) {
	skip := "<!-- labctl: skip reason=\"shows what is wrong\" -->\n"
	root := written(t, map[string]string{"a.md": pod("a", "") + pod("b", skip) + pod("c", "<!-- labctl: namespace: shop -->\n") + "# End\n\n" + skip})
	f := &fake{}
	var marks []docs.Mark
	var names []string
	out := run1(t, Options{Root: root, Judge: f.start, Rules: []string{"api-rejected", "mark-unused"}, Document: func(d docs.Document) {
		marks = d.Marks
		for _, e := range d.Examples {
			names = append(names, e.Objects[0].Name)
		}
	}})
	if got, want := places(out.Report), []string{"a.md:4 api-rejected", "a.md:30 api-rejected", "a.md:41 mark-unused"}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if out.Skipped != 1 || !slices.Equal(names, []string{"a", "c"}) {
		t.Errorf("skipped %d, left %q", out.Skipped, names)
	}
	if i := slices.IndexFunc(marks, func(m docs.Mark) bool { return m.Key == "namespace" }); i < 0 || marks[i].Example != 1 {
		t.Errorf("the mark of c points elsewhere: %+v", marks)
	}
	for _, m := range marks {
		if m.Key == "skip" && m.Example != -1 {
			t.Errorf("a mark points at an example that was left out: %+v", m)
		}
	}
}

func TestFilters(t *testing.T) {
	root := written(t, map[string]string{"a.md": pod("a", ""), "b/c.md": pod("c", "") + "```\n"})
	f := &fake{}
	for name, c := range map[string]struct {
		o    Options
		want []string
	}{
		"severity": {Options{Severity: docs.Error, Rules: []string{"api-rejected", "unclosed-fence"}}, []string{"a.md:4 api-rejected", "b/c.md:4 api-rejected"}},
		"without":  {Options{Rules: []string{"api-rejected", "unclosed-fence"}, Without: []string{"api-rejected"}}, []string{"b/c.md:13 unclosed-fence"}},
		"paths":    {Options{Rules: []string{"api-rejected"}, Paths: []string{"b/c.md", "b/c.md"}}, []string{"b/c.md:4 api-rejected"}},
	} {
		c.o.Root, c.o.Judge = root, f.start
		if got := places(run1(t, c.o).Report); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	d := look(job{path: "a.md", err: os.ErrPermission})
	if d.Path != "a.md" || len(d.findings) != 1 || d.findings[0].Rule != "unreadable" {
		t.Errorf("%+v", d)
	}
}

// TestLargeDocument: what is behind a document's limit isn't looked at, and
// that is said.
func TestLargeDocument(t *testing.T) {
	half := "```yaml\n- " + strings.Repeat("x", maxParsed/2) + "\n```\n"
	mark := "<!-- labctl: namespace: shop -->\n"
	d := look(job{path: "a.md", data: []byte(half + half + mark + half + pod("a", ""))})
	if len(d.Examples) != 1 || len(d.parsed) != 1 || len(d.Marks) != 0 {
		t.Errorf("%d examples, %d parsed, marks %v", len(d.Examples), len(d.parsed), d.Marks)
	}
	if i := slices.IndexFunc(d.findings, func(f docs.Finding) bool { return f.Rule == "too-large" }); i < 0 || d.findings[i].Line != 4 || d.findings[i].Severity == "" {
		t.Errorf("%+v", d.findings)
	}
}

// TestRules proves that each rule can be shown, and is there once.
func TestRules(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	rules := Rules()
	for i, r := range rules {
		if !id.MatchString(r.ID) || r.Title == "" || len(r.Help) < 20 || !slices.Contains(docs.Severities, r.Severity) {
			t.Errorf("%+v", r)
		}
		if i > 0 && rules[i-1].ID == r.ID {
			t.Errorf("%s is there twice", r.ID)
		}
	}
}
