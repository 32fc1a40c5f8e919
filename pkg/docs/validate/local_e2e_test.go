//go:build e2e

package validate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/docs/apiserver"
)

// apiRules are rules of the judge that these tests are about.
var apiRules = []string{"api-rejected", "missing-field", "unknown-field", "unknown-api", "unknown-kind", "immutable-field", "missing-dependency"}

func configMap(name, data string) string {
	return "```yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: " + name + "\nimmutable: true\ndata:\n  k: " + data + "\n```\n"
}

// TestLocal judges by a real API server: each mistake has a document beside it
// that lacks it.
func TestLocal(t *testing.T) {
	widget := "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.org}\nspec:\n" +
		"  group: example.org\n  scope: Namespaced\n  names: {plural: widgets, kind: Widget}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n" +
		"    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer, maximum: 3}}}}}}\n"
	own := written(t, map[string]string{"widgets.yaml": widget})
	root := written(t, map[string]string{
		"good.md":        pod("web", ""),
		"field.md":       strings.Replace(pod("web", ""), "    image: nginx", "    image: nginx\n    imagePullPolcy: Always", 1),
		"rejected.md":    strings.Replace(pod("web", ""), "name: main", "name: Main_1", 1),
		"alone-1.md":     configMap("settings", "one"),
		"alone-2.md":     configMap("settings", "two"), // refused if it met the one of alone-1.md
		"together.md":    configMap("settings", "one") + "\n" + configMap("settings", "two"),
		"certificate.md": certificate,
		"widget.md":      "```yaml\napiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  size: 3\n```\n\n```yaml\napiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\nspec:\n  size: 4\n```\n",
		"unknown.md":     "```yaml\napiVersion: nobody.example.com/v1\nkind: Thing\nmetadata: {name: t}\n```\n",
	})
	out, err := Run(t.Context(), Options{Root: root, Rules: apiRules, Judge: Local(apiserver.Options{}, own)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"certificate.md:7 missing-field", // issuerRef and secretName are required
		"field.md:12 unknown-field", "rejected.md:10 api-rejected", "together.md:18 immutable-field", "unknown.md:2 unknown-api", "widget.md:14 api-rejected",
	}
	if got := slices.Compact(places(out.Report)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if out.Server == "" {
		t.Error("the report doesn't say what judged")
	}
}

// TestLocalInterrupted ends a run while the API server starts, and while it
// judges, and wants it to be gone.
func TestLocalInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	root := written(t, map[string]string{"a.md": strings.Repeat(pod("web", ""), 2000)})
	for _, after := range []time.Duration{500 * time.Millisecond, 10 * time.Second} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		began := time.Now()
		_, err := Run(ctx, Options{Root: root, Judge: Local(apiserver.Options{}, "")})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %v: %v", after, err)
		}
		if took := time.Since(began) - after; took > 3*time.Second {
			t.Errorf("after %v it took %v more", after, took)
		}
		cancel()
		if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*", "*")); len(left) > 0 {
			t.Errorf("after %v: %q are left", after, left)
		}
	}
}

// TestCluster judges by a cluster that is there, and wants it to be as before.
func TestCluster(t *testing.T) {
	server, err := apiserver.Start(t.Context(), apiserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	root := written(t, map[string]string{"a.md": configMap("settings", "one"), "b.md": strings.Replace(pod("web", ""), "name: main", "name: Main_1", 1)})
	for range 2 { // the second run would find what the first one left
		out, err := Run(t.Context(), Options{Root: root, Rules: apiRules, Judge: Cluster(func(context.Context) (*rest.Config, error) { return server.Config(), nil })})
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.DeleteFunc(places(out.Report), func(p string) bool { return strings.HasSuffix(p, "missing-dependency") }); !slices.Equal(got, []string{"b.md:10 api-rejected"}) || out.Server != server.Version() {
			t.Errorf("got %q by %q", got, out.Server)
		}
	}
}
