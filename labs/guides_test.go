package labs_test

import (
	"bytes"
	"io/fs"
	"testing"

	"github.com/isolation-stack/labctl/labs"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/report"
)

// TestGuidesAreUpToDate wants the guides that lie beside the specs to be what
// the specs say.
func TestGuidesAreUpToDate(t *testing.T) {
	catalogue, problems := lab.Catalogue(labs.FS)
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	for _, l := range catalogue {
		for path, want := range report.GuideFiles(l) {
			if got, err := fs.ReadFile(labs.FS, path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("labs/%s is not what %s says (%v); run: go generate ./labs", path, l.File(), err)
			}
		}
	}
}
