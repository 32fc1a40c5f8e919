// Package validate is a whole run of validation: it reads the documents of a
// tree side by side, judges them one after another, and takes marks and a
// baseline into account.
package validate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/formats"
	"github.com/isolation-stack/labctl/pkg/docs/rules"
	"github.com/isolation-stack/labctl/pkg/docs/tree"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
	"github.com/isolation-stack/labctl/pkg/progress"
)

// Options say what to validate and how.
type Options struct {
	// Root is the folder; Tree says which of its documents.
	Root string
	Tree tree.Options
	// Paths are the only documents that are looked at, relative to Root with
	// slashes; all of the tree if empty.
	Paths []string
	// Judge starts what judges; nil judges by rules and formats alone. It is
	// called when the first object is found, and not at all if there is none.
	Judge func(context.Context) (Judge, error)
	// Rules are those to report, by id; all if empty. Without are left out.
	Rules, Without []string
	// Severity is the least that is reported; note if empty.
	Severity docs.Severity
	// Baseline holds findings that are known; nil is none. With Rebase all that
	// this run finds is known.
	Baseline *Baseline
	Rebase   bool
	// Version of labctl, for the report.
	Version string
	// Document hears of each document when it is done, in the order of paths;
	// nil hears nothing.
	Document func(docs.Document)
	Log      progress.Log
}

// Judge is an API server that judges documents one after another.
type Judge interface {
	// Prepare hears of all kinds that documents are known to use, before these
	// documents; it is called again when there are more.
	Prepare(ctx context.Context, kinds map[schema.GroupKind]bool) error
	// Document gives what the API server says of a document; parsed[i] belongs
	// to d.Examples[i].
	Document(ctx context.Context, d docs.Document, parsed [][]yamldoc.Doc) ([]docs.Finding, error)
	// Version is that of the API server.
	Version() string
	// Close ends it and removes all that it has.
	Close() error
}

const (
	// budget is how many bytes of documents are in memory at a time. Parsed
	// YAML takes fifty times as much, and hostile one a hundred times.
	budget = 2 << 20
	// maxParsed is how many bytes of a document's examples are looked at.
	maxParsed = budget
)

// Outcome is what a run gives.
type Outcome struct {
	docs.Report
	// Baseline is the one that a next run can have: what this one found, and
	// what the last one held of documents and rules that this one left out.
	Baseline Baseline
}

// Run validates a tree. The error is one of the run, such as a folder that
// can't be read or a server that doesn't start, never one of a document.
func Run(ctx context.Context, o Options) (out Outcome, err error) {
	if o.Log == nil {
		o.Log = progress.Discard
	}
	active, err := o.choose()
	if err != nil {
		return Outcome{}, err
	}
	files, findings, err := o.files(ctx)
	if err != nil {
		return Outcome{}, err
	}
	r := &run{Options: o, known: o.Baseline, active: active, server: newServer(ctx, o.Judge)}
	defer func() { err = errors.Join(err, r.server.close()) }()
	r.report = docs.Report{Labctl: o.Version, Root: o.Root, Examples: map[docs.Class]int{}, Findings: []docs.Finding{}, Rules: sorted(active)}
	r.add(findings)
	step := o.Log.Start("Validating documents")
	err = r.documents(ctx, files, step)
	step.End(err)
	if err != nil {
		return Outcome{}, err
	}
	return r.outcome(files), nil
}

// run is one under way.
type run struct {
	Options
	known  *Baseline // Options.Baseline
	active map[string]docs.Rule
	report docs.Report
	server *server
}

// add keeps the findings of active rules.
func (r *run) add(findings []docs.Finding) {
	for _, f := range findings {
		if _, ok := r.active[f.Rule]; ok {
			r.report.Findings = append(r.report.Findings, f)
		}
	}
}

// document is one that was looked at.
type document struct {
	docs.Document
	parsed   [][]yamldoc.Doc
	findings []docs.Finding
	skipped  int
}

// job is a document to look at.
type job struct {
	path   string
	data   []byte
	err    error // of reading
	result chan document
}

// documents looks at documents side by side and takes them in order.
func (r *run) documents(ctx context.Context, files []tree.File, step progress.Step) error {
	g, ctx := errgroup.WithContext(ctx)
	jobs, order := make(chan job), make(chan job, 64)
	memory := semaphore.NewWeighted(budget)
	g.Go(func() error {
		defer close(order)
		defer close(jobs)
		for _, f := range files {
			data, err := f.Read()
			// In order, so that the first of those in memory gets done.
			if err := memory.Acquire(ctx, weight(data)); err != nil {
				return context.Cause(ctx)
			}
			j := job{f.Path, data, err, make(chan document, 1)}
			for _, to := range []chan job{order, jobs} {
				select {
				case to <- j:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
		return nil
	})
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			for j := range jobs {
				d := look(j)
				r.server.hear(d)
				j.result <- d
			}
			return nil
		})
	}
	g.Go(func() error {
		done := 0
		for j := range order {
			select {
			case d := <-j.result:
				if err := r.take(ctx, d); err != nil {
					return err
				}
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			memory.Release(weight(j.data))
			done++
			step.Update(done, len(files), j.path)
		}
		return nil
	})
	return g.Wait()
}

func weight(data []byte) int64 { return min(int64(len(data))+1, budget) }

// look is all that can be said of a document by itself.
func look(j job) document {
	if j.err != nil {
		return document{Document: docs.Document{Path: j.path}, findings: []docs.Finding{tree.Unread(j.path, j.err)}}
	}
	d := document{Document: extract.Markdown(j.path, j.data)}
	d.parsed = make([][]yamldoc.Doc, len(d.Examples))
	total := 0
	for i := range d.Examples {
		e := &d.Examples[i]
		if total += len(e.Text); total > maxParsed {
			r := byID(extract.Rules)["too-large"]
			d.findings = append(d.findings, docs.Finding{Rule: r.ID, Severity: r.Severity, Path: d.Path, Position: e.Position, Example: e.Line, SHA256: e.SHA256,
				Message: fmt.Sprintf("The document has more than %d bytes of examples; this one and those after it aren't looked at.", maxParsed)})
			d.Examples, d.parsed = d.Examples[:i], d.parsed[:i]
			d.Marks = slices.DeleteFunc(d.Marks, func(m docs.Mark) bool { return m.Example >= i })
			break
		}
		d.parsed[i] = yamldoc.Parse(e.Text)
		classify.Classify(e, d.parsed[i])
	}
	d.skip()
	d.findings = slices.Concat(d.findings, d.Findings, rules.Check(d.Document, d.parsed), formats.Check(d.Document, d.parsed))
	return d
}

// take judges a document and adds it to the report.
func (r *run) take(ctx context.Context, d document) error {
	found, err := r.server.document(ctx, d)
	if err != nil {
		return err
	}
	r.report.Documents++
	r.report.Skipped += d.skipped
	for _, e := range d.Examples {
		r.report.Examples[e.Class]++
	}
	if r.Judge != nil {
		d.findings = slices.DeleteFunc(d.findings, func(f docs.Finding) bool { _, ok := judged[f.Rule]; return ok })
	}
	r.add(d.findings)
	r.add(found)
	if r.Document != nil {
		r.Document(d.Document)
	}
	return nil
}

// outcome sorts the findings and takes the baseline out.
func (r *run) outcome(files []tree.File) Outcome {
	sortFindings(r.report.Findings)
	looked := map[string]bool{}
	for _, f := range files {
		looked[f.Path] = true
	}
	// What is in the baseline can be gone only where this run looked.
	partial := len(r.Paths) > 0 || r.Tree.ChangedSince != ""
	here := func(e Entry) bool {
		_, ok := r.active[e.Rule]
		return ok && (looked[e.Path] || !partial)
	}
	out := Outcome{Baseline: NewBaseline(r.report.Findings)}
	if r.known != nil {
		out.Baseline.keep(*r.known, func(e Entry) bool { return !here(e) })
	}
	switch {
	case r.Rebase:
		r.report.Findings, r.report.Baseline = []docs.Finding{}, len(r.report.Findings)
	case r.known != nil:
		var stale []docs.Finding
		r.report.Findings, r.report.Baseline, stale = r.known.Apply(r.report.Findings, here)
		r.add(stale)
		sortFindings(r.report.Findings)
	}
	least := cmp.Or(r.Severity, docs.Note)
	r.report.Findings = slices.DeleteFunc(r.report.Findings, func(f docs.Finding) bool { return !f.Severity.AtLeast(least) })
	r.report.Server = r.server.version()
	out.Report = r.report
	return out
}

func sortFindings(findings []docs.Finding) {
	slices.SortStableFunc(findings, func(a, b docs.Finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Rule, b.Rule))
	})
}
