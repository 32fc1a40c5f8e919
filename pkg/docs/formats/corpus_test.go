package formats

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/extract"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// TestCorpus runs over a tree of real documents: findings stand inside their
// example, and a second run gives the same ones.
func TestCorpus(t *testing.T) {
	root := os.Getenv("LABCTL_DOCS")
	if root == "" {
		root = "../../../../shared/corpus"
	}
	if _, err := os.Stat(root); err != nil {
		t.Skipf("no documents at %s (LABCTL_DOCS): %v", root, err)
	}
	counts := map[string]int{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		d := extract.Markdown(path, data)
		parsed := make([][]yamldoc.Doc, len(d.Examples))
		for i := range d.Examples {
			parsed[i] = classify.Parse(d.Examples[i])
			classify.Classify(&d.Examples[i], parsed[i])
		}
		found := Check(d, parsed)
		if again := Check(d, parsed); !reflect.DeepEqual(found, again) {
			t.Errorf("%s: a second run gives other findings:\n%+v\n%+v", path, found, again)
		}
		for _, f := range found {
			counts[f.Rule]++
			t.Logf("%s:%d:%d: %s %s: %s [%s %s]", path, f.Line, f.Column, f.Severity, f.Rule, f.Message, f.Object, f.Field)
			if !inside(d, f) {
				t.Errorf("%s:%d: the finding of %s stands outside its example", path, f.Line, f.Rule)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(counts)
}

func inside(d docs.Document, f docs.Finding) bool {
	for _, e := range d.Examples {
		if e.Line == f.Example && e.SHA256 == f.SHA256 && f.Line >= e.Line && f.Line <= e.EndLine {
			return true
		}
	}
	return false
}
