//go:build e2e

package judge

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// TestCorpus judges the documents that LABCTL_DOCS names, twice: the findings
// are the same, so no document disturbs another. It prints them; `make
// docs-accuracy` compares.
func TestCorpus(t *testing.T) {
	root := os.Getenv("LABCTL_DOCS")
	if root == "" {
		root = filepath.Join("..", "..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no documents to judge: %v (LABCTL_DOCS names a folder of Markdown files)", err)
	}
	var paths []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(paths)
	type document struct {
		docs.Document
		parsed [][]yamldoc.Doc
	}
	var all []document
	groups, objects := map[string]bool{}, 0
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		d := extract.Markdown(filepath.ToSlash(rel), data)
		parsed := make([][]yamldoc.Doc, len(d.Examples))
		for i := range d.Examples {
			parsed[i] = classify.Parse(d.Examples[i])
			classify.Classify(&d.Examples[i], parsed[i])
			for _, o := range d.Examples[i].Objects {
				objects++
				group, _, _ := strings.Cut(o.APIVersion, "/")
				groups[group] = true
			}
		}
		all = append(all, document{d, parsed})
	}
	j := started(t, slices.Collect(maps.Keys(groups))...)
	var runs [2][]docs.Finding
	for run := range runs {
		start := time.Now()
		for _, d := range all {
			found, err := j.Document(context.Background(), d.Document, d.parsed)
			if err != nil {
				t.Fatal(err)
			}
			runs[run] = append(runs[run], found...)
		}
		t.Logf("run %d: %d objects of %d documents in %s: %d findings", run+1, objects, len(paths), time.Since(start).Round(time.Millisecond), len(runs[run]))
	}
	counts := map[string]int{}
	for i, f := range runs[0] {
		counts[string(f.Severity)+" "+f.Rule]++
		t.Logf("%s:%d:%d %s %s [%s] (%d) %s", f.Path, f.Line, f.Column, f.Severity, f.Rule, f.Object, f.Example, f.Message)
		if i >= len(runs[1]) || f != runs[1][i] {
			t.Fatalf("the second run differs from here on")
		}
	}
	t.Log(counts)
}
