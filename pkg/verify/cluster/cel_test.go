package cluster

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

var aPod = map[string]any{
	"kind": "Pod", "metadata": map[string]any{"name": "p", "labels": map[string]any{"app": "web"}},
	"spec":   map[string]any{"replicas": int64(2), "cpu": "500m"},
	"status": map[string]any{"phase": "Running", "ratio": 0.25, "whole": 2.0, "ready": true, "took": "1500ms", "args": []any{"a", "b"}},
}

func TestValues(t *testing.T) {
	one, none := Objects{One: true, Items: []map[string]any{aPod}}, Objects{One: true}
	three := Objects{Items: []map[string]any{aPod, aPod, {"status": map[string]any{"phase": "Pending"}}}}
	for _, c := range []struct {
		text    string
		objects Objects
		t       evidence.Type
		want    any // an error's text begins with !
	}{
		{"object.status.phase == 'Running'", one, evidence.Bool, true},
		{"object.status.phase", one, evidence.String, "Running"},
		{"object.spec.replicas", one, evidence.Int, int64(2)},
		{"object.status.whole", one, evidence.Int, int64(2)},
		{"object.status.ratio", one, evidence.Int, "!is double, not int"},
		{"object.status.ratio", one, evidence.Double, 0.25},
		{"object.spec.replicas", one, evidence.Double, 2.0},
		{"object.spec.cpu", one, evidence.Quantity, "500m"},
		{"quantity(object.spec.cpu)", one, evidence.Quantity, "500m"},
		{"object.spec.replicas", one, evidence.Quantity, "2"},
		{"object.status.phase", one, evidence.Quantity, "!quantities must match"},
		{"object.status.took", one, evidence.Duration, 1500 * time.Millisecond},
		{"duration(object.status.took)", one, evidence.Duration, 1500 * time.Millisecond},
		{"object.status.args", one, evidence.List, []string{"a", "b"}},
		{"object.status.args.map(a, a + '!')", one, evidence.List, []string{"a!", "b!"}},
		{"object.status.phase", one, evidence.List, "!is not a list of texts"},
		{"object.status.phase", one, evidence.Bool, "!is string, not bool"},
		{"object.?status.?reason.orValue('none')", one, evidence.String, "none"},
		{"object.?status.?reason", one, evidence.String, nil},
		{"object.?status.?phase", one, evidence.String, "Running"},
		{"object.status.reason", one, evidence.String, "!no such key: reason"},
		{"object == null", none, evidence.Bool, true},
		{"object == null ? null : object.status.phase", none, evidence.String, nil},
		{"object.status.phase", none, evidence.String, "!no such key"},
		{"objects.size()", three, evidence.Int, int64(3)},
		{"objects.filter(o, o.status.phase == 'Running').size()", three, evidence.Int, int64(2)},
		{"objects.exists(o, o.status.phase == 'Pending')", three, evidence.Bool, true},
		{"objects.map(o, o.status.phase)", three, evidence.List, []string{"Running", "Running", "Pending"}},
		{"objects.map(o, o.status.phase).distinct()", three, evidence.List, []string{"Running", "Pending"}},
		{"objects.size()", Objects{}, evidence.Int, int64(0)},
	} {
		e, err := Compile(c.text, c.t, c.objects.One)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		got, err := e.Value(t.Context(), c.t, c.objects)
		if want, ok := c.want.(string); ok && strings.HasPrefix(want, "!") {
			if err == nil || !strings.Contains(err.Error(), want[1:]) {
				t.Errorf("%s as %s: got %v, %v; want an error with %q", c.text, c.t, got, err, want[1:])
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s as %s: got %#v, %v; want %#v", c.text, c.t, got, err, c.want)
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		t    evidence.Type
		one  bool
		want string
	}{
		{"object.status.phase ==", evidence.Bool, true, "CEL: ERROR"},
		{"objekt.status", evidence.Bool, true, "undeclared reference to 'objekt'"},
		{"objects.size() > 1", evidence.Bool, true, "looks at objects, but a name is given"},
		{"object.status.ready", evidence.Bool, false, "looks at object, but a selector is given"},
		{"1 == 1", evidence.Bool, true, "doesn't look at object, so it can't fail"},
		{"objects.size()", evidence.Bool, false, "gives int, not bool"},
		{"objects.size() > 1", evidence.Int, false, "gives bool, not int"},
		{"object.a", "text", true, `type: "text" is unknown`},
	} {
		if _, err := Compile(c.text, c.t, c.one); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.text, err, c.want)
		}
	}
}

// TestCost wants an expression that goes on and on to end in an error.
func TestCost(t *testing.T) {
	many := make([]map[string]any, 400)
	for i := range many {
		many[i] = aPod
	}
	e, err := Compile("objects.all(a, objects.all(b, objects.all(c, a.kind == b.kind && b.kind == c.kind)))", evidence.Bool, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Holds(t.Context(), Objects{Items: many}); err == nil {
		t.Error("64 million comparisons are within the limit")
	}
}
