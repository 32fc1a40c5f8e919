package lab_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// TestExamples ties a manifest to an example of the document, and wants every
// way in which that is wrong to be named.
func TestExamples(t *testing.T) {
	const (
		head   = "  manifests: [greeting.yaml]\n"
		source = `source: {heading: "1", line: 9, lines: 2, sha256: 24941f239373bf67ff6aad063be8802a950d7f939d1dfdfcfbae9a1ee4aa6bb0}`
	)
	manifests := fstest.MapFS{"greeting.yaml": {Data: []byte("a: 1\n")}, "other.yaml": {Data: []byte("a: 1\n")}, "unused.yaml": {Data: []byte("a: 1\n")}}
	applied := func(kind string, _ json.RawMessage, _ fs.FS) ([]string, error) {
		if kind == "pod" {
			return []string{"other.yaml"}, nil
		}
		return nil, nil
	}
	broken := func(string, json.RawMessage, fs.FS) ([]string, error) {
		return nil, errors.New("other.yaml:3: no object")
	}
	for name, c := range map[string]struct {
		example string
		applied lab.Applied
		want    string
	}{
		"applied by the lab":      {"greeting.yaml\n      " + source, applied, ""},
		"applied by a probe":      {"other.yaml\n      " + source, applied, ""},
		"applied by nothing":      {"unused.yaml\n      " + source, applied, "spec.examples[0].manifest: nothing applies unused.yaml; "},
		"not there":               {"gone.yaml\n      " + source, applied, "spec.examples[0].manifest: there is no manifest gone.yaml: file does not exist"},
		"no path":                 {"../gone.yaml\n      " + source, applied, `spec.examples[0].manifest: is "../gone.yaml"; write a path`},
		"the text moved":          {"other.yaml\n      " + strings.Replace(source, "line: 9", "line: 8", 1), applied, "spec.examples[0].source.line: the text moved in kernels.md: it is at line 9 now, not 8"},
		"no line":                 {"other.yaml\n      " + strings.Replace(source, "line: 9", "line: 0", 1), applied, "spec.examples[0].source.line: is 0; lines count from 1"},
		"a manifest that's wrong": {"other.yaml\n      " + source, broken, "spec.claims[0].probes[0].with: other.yaml:3: no object"},
	} {
		t.Run(name, func(t *testing.T) {
			against := lab.Against{Schema: schema, Manifests: manifests, Docs: sub(t, "docs"), Applied: c.applied}
			problems := lab.Lint(edited(t, head, head+"  examples:\n    - manifest: "+c.example+"\n"), against)
			switch {
			case c.want == "" && len(problems) > 0:
				t.Error(problems.Error())
			case c.want != "" && !strings.Contains(problems.Error(), c.want):
				t.Errorf("got  %s\nwant %s", problems.Error(), c.want)
			}
		})
	}
}
