package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// TestInverse wants every patch followed by its inverse to give what was.
func TestInverse(t *testing.T) {
	for name, c := range map[string]struct{ object, patch, inverse string }{
		"a new key":           {`{"a":1}`, `{"b":2}`, `{"b":null}`},
		"another value":       {`{"a":1,"b":2}`, `{"a":3}`, `{"a":1}`},
		"a key removed":       {`{"a":{"x":1,"y":2}}`, `{"a":{"x":null}}`, `{"a":{"x":1}}`},
		"a label":             {`{"m":{"labels":{"a":"1"}}}`, `{"m":{"labels":{"b":"2"}}}`, `{"m":{"labels":{"b":null}}}`},
		"the first label":     {`{"m":{}}`, `{"m":{"labels":{"b":"2"}}}`, `{"m":{"labels":null}}`},
		"a list":              {`{"a":[1,2]}`, `{"a":[]}`, `{"a":[1,2]}`},
		"a tree for a value":  {`{"a":1}`, `{"a":{"b":1}}`, `{"a":1}`},
		"a value for a tree":  {`{"a":{"b":1}}`, `{"a":1}`, `{"a":{"b":1}}`},
		"removes what wasn't": {`{"a":1}`, `{"b":null}`, `{"b":null}`},
	} {
		t.Run(name, func(t *testing.T) {
			var object, patch map[string]any
			for text, into := range map[string]*map[string]any{c.object: &object, c.patch: &patch} {
				if err := json.Unmarshal([]byte(text), into); err != nil {
					t.Fatal(err)
				}
			}
			back, err := json.Marshal(inverse(patch, object))
			if err != nil || string(back) != c.inverse {
				t.Errorf("inverse %s, %v; want %s", back, err, c.inverse)
			}
			patched, err := jsonpatch.MergePatch([]byte(c.object), []byte(c.patch))
			if err != nil {
				t.Fatal(err)
			}
			restored, err := jsonpatch.MergePatch(patched, back)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal(restored, &got); err != nil || !reflect.DeepEqual(got, object) {
				t.Errorf("restored %s, want %s", restored, c.object)
			}
		})
	}
}
