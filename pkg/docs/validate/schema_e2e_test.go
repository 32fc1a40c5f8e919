//go:build e2e

package validate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
	"github.com/isolation-stack/labctl/pkg/progress"
	"github.com/isolation-stack/labctl/pkg/provision/artifact"
)

// titles is a Log that keeps the titles of steps.
type titles struct {
	progress.Log
	mu   sync.Mutex
	list []string
}

func (l *titles) Start(title string) progress.Step {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, title)
	return l.Log.Start(title)
}

// TestSchema takes the schemas once, from an API server, and wants them to say
// of fields what that says.
func TestSchema(t *testing.T) {
	usual, err := artifact.Default()
	if err != nil {
		t.Fatal(err)
	}
	// A cache with the programs that are there, and without the schemas.
	cache := artifact.Cache{Dir: t.TempDir()}
	there, err := filepath.Glob(filepath.Join(usual.Dir, "artifacts", "go-*"))
	if err != nil || os.Mkdir(filepath.Join(cache.Dir, "artifacts"), 0o755) != nil {
		t.Fatal(err)
	}
	for _, a := range there {
		if err := os.Symlink(a, filepath.Join(cache.Dir, "artifacts", filepath.Base(a))); err != nil {
			t.Fatal(err)
		}
	}
	root := written(t, map[string]string{
		"good.md":        pod("web", ""),
		"field.md":       strings.Replace(pod("web", ""), "    image: nginx", "    image: nginx\n    imagePullPolcy: Always", 1),
		"type.md":        strings.Replace(pod("web", ""), "    image: nginx", "    image: 5", 1),
		"certificate.md": certificate,
		"custom.md":      strings.Replace(certificate, "spec: {}", "spec: {secretName: a, issuerRef: {name: b}, dnsName: c}", 1),
		"kind.md":        "```yaml\napiVersion: v1\nkind: Podd\nmetadata: {name: t}\n```\n",
		"expected.md":    pod("web", "<!-- labctl: expect: rejected reason=\"a policy that isn't here\" -->\n"),
	})
	run := func(begin func(o apiserver.Options) Options) ([]string, []string) {
		log := &titles{Log: progress.Discard}
		o := begin(apiserver.Options{Cache: cache, Log: log})
		o.Root, o.Rules = root, []string{"unknown-field", "missing-field", "wrong-type", "unknown-kind"}
		out, err := Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return places(out.Report), log.list
	}
	want, _ := run(func(o apiserver.Options) Options { return Options{Judge: Local(o, "")} })
	if len(want) < 5 {
		t.Fatalf("the API server says %q alone", want)
	}
	for _, started := range []bool{true, false} {
		got, steps := run(func(o apiserver.Options) Options { return Options{Judge: Schema(o, "")} })
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		if slices.Contains(steps, "Starting an API server") != started {
			t.Errorf("an API server was started in %q; want it to be %t", steps, started)
		}
	}
}
