package apiserver

import (
	"encoding/json"
	"testing"
	"time"
)

func TestEstablished(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var in map[string]any
	const definition = `{"apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": "widgets.example.org", "resourceVersion": "7"},
		"spec": {"group": "example.org", "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
		"versions": [{"name": "v1", "served": true}, {"name": "v2", "served": true, "storage": true}]}}`
	if err := json.Unmarshal([]byte(definition), &in); err != nil {
		t.Fatal(err)
	}
	got, err := established(in, now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got["status"])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"acceptedNames":{"kind":"Widget","listKind":"WidgetList","plural":"widgets","shortNames":["wd"],"singular":"widget"},` +
		`"conditions":[{"lastTransitionTime":"2026-01-02T02:04:05Z","message":"installed by labctl","reason":"NoConflicts","status":"True","type":"NamesAccepted"},` +
		`{"lastTransitionTime":"2026-01-02T02:04:05Z","message":"installed by labctl","reason":"InitialNamesAccepted","status":"True","type":"Established"}],` +
		`"storedVersions":["v2"]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	metadata := got["metadata"].(map[string]any)
	if metadata["uid"] == "" || metadata["resourceVersion"] != nil {
		t.Errorf("%v", metadata)
	}
	if again, _ := json.Marshal(in); len(again) != len(compact(t, definition)) {
		t.Errorf("the definition itself has changed: %s", again)
	}
	for _, broken := range []string{
		`{}`,
		`{"apiVersion": "apiextensions.k8s.io/v1beta1", "metadata": {"name": "a.b"}, "spec": {"group": "b", "names": {"plural": "a", "kind": "A"}}}`,
		`{"apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": "b.a"}, "spec": {"group": "b", "names": {"plural": "a", "kind": "A"}}}`,
		`{"apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": "a.b"}, "spec": {"group": "b", "names": {"plural": "a"}}}`,
	} {
		var object map[string]any
		if err := json.Unmarshal([]byte(broken), &object); err != nil {
			t.Fatal(err)
		}
		if _, err := established(object, now); err == nil {
			t.Errorf("%s is taken", broken)
		}
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
