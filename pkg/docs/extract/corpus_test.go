package extract

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// corpus gives the documents of a tree that isn't part of the project, by
// path.
func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	root := os.Getenv("LABCTL_DOCS")
	if root == "" {
		root = "../../../../shared/corpus"
	}
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		name, _ := filepath.Rel(root, path)
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("the documents aren't there: %s (LABCTL_DOCS names another place)", root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestCorpusMap compares the YAML blocks with a map of them made by hand,
// which stands beside the documents.
func TestCorpusMap(t *testing.T) {
	files := corpus(t)
	data, err := os.ReadFile(filepath.Join(os.Getenv("LABCTL_DOCS"), "../corpus-map/corpus-map.json"))
	if os.Getenv("LABCTL_DOCS") == "" {
		data, err = os.ReadFile("../../../../shared/corpus-map/corpus-map.json")
	}
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the map isn't there:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var mapped struct {
		Blocks []struct {
			File      string
			Line, End int
		}
	}
	if err := json.Unmarshal(data, &mapped); err != nil {
		t.Fatal(err)
	}
	type block struct {
		file      string
		line, end int
	}
	want, in := map[block]bool{}, map[string]bool{}
	for _, b := range mapped.Blocks {
		want[block{b.File, b.Line, b.End}] = true
		in[b.File] = true
	}
	if len(want) == 0 {
		t.Fatal("the map has no blocks")
	}
	streams := map[docs.Origin]int{}
	for path := range in {
		d := Markdown(path, files[path])
		for _, e := range d.Examples {
			checkLines(t, path, files[path], e)
			if e.Origin == docs.Heredoc || e.Origin == docs.Bare {
				streams[e.Origin]++
				t.Logf("%s:%d-%d %s -n %q %.60q", path, e.Line, e.EndLine, e.Origin, e.Target, e.Text)
			}
			if e.Origin != docs.Fenced || e.Language != "yaml" {
				continue
			}
			b := block{path, e.Line, e.EndLine}
			if !want[b] {
				t.Errorf("%v isn't in the map", b)
			}
			delete(want, b)
		}
		for _, f := range d.Findings {
			t.Errorf("%s:%d:%d: %s: %s", f.Path, f.Line, f.Column, f.Rule, f.Message)
		}
	}
	for b := range want {
		t.Errorf("%v wasn't found", b)
	}
	if streams[docs.Heredoc] != 41 || streams[docs.Bare] != 12 {
		t.Errorf("%d here-documents and %d bare manifests; the map has 41 and 12", streams[docs.Heredoc], streams[docs.Bare])
	}
}

// checkLines checks that each line of an example stands in the file where
// Lines says.
func checkLines(t *testing.T, path string, data []byte, e docs.Example) {
	t.Helper()
	file := strings.Split(string(data), "\n")
	lines := strings.Split(strings.TrimSuffix(e.Text, "\n"), "\n")
	if len(lines) != len(e.Lines) {
		t.Fatalf("%s:%d: %d lines and %d places", path, e.Line, len(lines), len(e.Lines))
	}
	for i, line := range lines {
		at := e.Lines[i]
		there := []rune(file[at.Line-1])
		if at.Column < 1 || at.Column > len(there)+1 || !strings.HasPrefix(string(there[at.Column-1:]), line) {
			t.Errorf("%s:%d:%d doesn't hold %q", path, at.Line, at.Column, line)
		}
	}
}

func TestCorpusRest(t *testing.T) {
	for path, data := range corpus(t) {
		d := Markdown(path, data)
		for _, e := range d.Examples {
			if !strings.HasSuffix(path, "FINAL-REPORT.md") {
				checkLines(t, path, data, e)
			}
		}
		for _, f := range d.Findings {
			t.Logf("%s:%d:%d: %s: %s", f.Path, f.Line, f.Column, f.Rule, f.Message)
		}
	}
}

// BenchmarkCorpus extracts all documents one after another.
func BenchmarkCorpus(b *testing.B) {
	files := corpus(b)
	size := 0
	for _, data := range files {
		size += len(data)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for path, data := range files {
			Markdown(path, data)
		}
	}
}
