package apply

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct{ found, want string }{
		"one":                      {"example.com/v1", "example.com/v1"},
		"the core group first":     {"events.k8s.io/v1 v1", "v1"},
		"Kubernetes' own":          {"crd.example.com/v1 networking.k8s.io/v1", "networking.k8s.io/v1"},
		"a group without a dot":    {"serving.example.dev/v1 apps/v1 extensions.k8s.io/v1", "apps/v1"},
		"two of the same rank":     {"a.example.com/v1 b.example.com/v1", "!the kind Thing is in a.example.com/v1, b.example.com/v1; write its apiVersion"},
		"two, and Kubernetes' own": {"a.example.com/v1 v1 b.example.com/v1", "v1"},
		"none":                     {"", "!no matches for kind \"Thing\""},
	} {
		t.Run(name, func(t *testing.T) {
			var found []schema.GroupVersionKind
			for _, text := range strings.Fields(c.found) {
				gv, err := schema.ParseGroupVersion(text)
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, gv.WithKind("Thing"))
			}
			got, err := choose("Thing", found)
			if want, refused := strings.CutPrefix(c.want, "!"); refused {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, %v; want an error with %q", got, err, want)
				}
				return
			}
			if err != nil || got.GroupVersion().String() != c.want {
				t.Errorf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
}

// TestInline wants errors of objects without a file to say where they are.
func TestInline(t *testing.T) {
	o, err := Inline("steps[2]", map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "p"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := o.errorf(o.lineOf("spec.containers[0]"), "no").Error(); got != "steps[2]: Pod p: no" || o.At() != "steps[2]" {
		t.Errorf("got %q at %q", got, o.At())
	}
	if _, err := Inline("steps[2]", map[string]any{"kind": "Pod"}); err == nil || !strings.HasPrefix(err.Error(), "steps[2]: is no Kubernetes object") {
		t.Errorf("without apiVersion: %v", err)
	}
}
