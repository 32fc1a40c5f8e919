package lifecycle

import (
	"errors"
	"runtime"
	"testing"

	"github.com/isolation-stack/labctl/images"
	"github.com/isolation-stack/labctl/internal/payload"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// Every artifact that labctl makes of Go modules for amd64 has its digest, and
// there is no digest of another, so that none of another architecture is
// pulled: labctl cache pull takes what has one. That the digests
// are right is shown where the artifacts are built (TestCache in e2e).
func TestDigests(t *testing.T) {
	known, err := images.ReadDigests()
	if err != nil {
		t.Fatal(err)
	}
	parts, err := Parts(artifact.Cache{Dir: t.TempDir()}, progress.Discard)
	if errors.Is(err, payload.ErrMissing) {
		t.Skipf("%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	const command = "make digests writes images/digests.yaml anew"
	listed := runtime.GOARCH == "amd64"
	made := map[string]bool{}
	for _, p := range parts {
		id := p.Key.ID()
		made[id] = true
		if has := known.Artifacts[id] != ""; has != listed {
			t.Errorf("%s (%s) has a digest: %v, want %v; %s", id, p.Title, has, listed, command)
		}
	}
	for id := range known.Artifacts {
		if listed && !made[id] {
			t.Errorf("the digest of %s is of nothing that labctl makes; %s", id, command)
		}
	}
}
