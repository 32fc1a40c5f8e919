package crds

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestNewerRules(t *testing.T) {
	rule := field.NewPath("spec", "validation", "openAPIV3Schema").Key("spec").Child(rules).Index(0).Child("rule")
	unknown := field.Invalid(rule, "isIP(self)", "compilation failed: undeclared reference to 'isIP'")
	invalid := func(list ...*field.Error) error {
		return apierrors.NewInvalid(schema.GroupKind{Kind: kind}, "things.example.com", list)
	}
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"a function that isn't known", invalid(unknown), true},
		{"another mistake of a rule", invalid(field.Invalid(rule, "self +", "compilation failed: Syntax error")), false},
		{"another mistake beside it", invalid(unknown, field.Required(field.NewPath("spec", "group"), "")), false},
		{"an answer without causes", invalid(), false},
		{"another answer", apierrors.NewNotFound(resource.GroupResource(), "x"), false},
		{"no answer", errors.New("undeclared reference"), false},
		{"none", nil, false},
	} {
		if got := newerRules(tt.err); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestWithoutRules(t *testing.T) {
	const text = `{"spec":{"versions":[{"schema":{"type":"object","x-kubernetes-validations":[{"rule":"a"}],"properties":{"x-kubernetes-validations":{"type":"string"},"b":{"items":{"x-kubernetes-validations":[{"rule":"b"}]}}}}}]}}`
	definition := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &definition.Object); err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(definition.Object)
	b, err := json.Marshal(withoutRules(definition).Object)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b); strings.Contains(got, `"rule"`) || !strings.Contains(got, `"x-kubernetes-validations":{"type":"string"}`) {
		t.Errorf("got %s", got)
	}
	if after, _ := json.Marshal(definition.Object); string(after) != string(before) {
		t.Error("the definition itself is changed")
	}
}
