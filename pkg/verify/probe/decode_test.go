package probe

import (
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	type inner struct {
		Limit string `json:"limit"`
	}
	type params struct {
		Name  string `json:"name"`
		Count int    `json:"count"`
		Inner inner  `json:"inner"`
	}
	for _, c := range []struct{ name, in, err string }{
		{"empty", ``, ""},
		{"whole", `{"name":"a","count":2,"inner":{"limit":"1"}}`, ""},
		{"unknown field", `{"title":"a"}`, `unknown field "title"`},
		{"unknown field within", `{"inner":{"limits":"1"}}`, `unknown field "inner.limits"`},
		{"another case", `{"Name":"a"}`, `unknown field "Name"`},
		{"twice", `{"name":"a","name":"b"}`, `duplicate field "name"`},
		{"wrong type", `{"count":"two"}`, "count"},
		{"no JSON", `{"count":`, "parameters:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Decode([]byte(c.in), &params{})
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v, want one that contains %q", err, c.err)
			}
		})
	}
}
