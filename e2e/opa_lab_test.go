//go:build e2e

package e2e

import (
	"slices"
	"testing"
)

// opaClaims are those that ask opa.
var opaClaims = []string{"06-3", "06-3.default", "06-4", "06-5", "06-6", "06-6.implicit", "06-9", "06-11", "06-16"}

// TestPolicyLabWithoutOPA leaves the add-on out.
func TestPolicyLabWithoutOPA(t *testing.T) {
	shared(t)
	untestable(t, slices.Concat([]string{"policy-opa", "--without", "opa"}, only(opaClaims)), opaClaims)
}

// TestPolicyLabSabotage changes the policies and wants exactly the claims that
// rest on the changed rule to turn.
func TestPolicyLabSabotage(t *testing.T) {
	shared(t)
	for _, tt := range []struct {
		name, old, new string
		turn           []string
	}{
		{"every registry is trusted", `not startswith(c.image, "registry.example/")`, `not startswith(c.image, "")`, []string{"06-4"}},
		{"memory 0 will do", `c.resources.requests.memory == "0"`, `c.resources.requests.memory == "1"`, []string{"06-5"}},
		{"another tag is forbidden", `contains(c.image, ":latest")`, `contains(c.image, ":edge")`, []string{"06-6", "06-6.implicit"}},
		{"any environment will do", `labels.environment != "prod"`, `labels.environment == ""`, []string{"06-11"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := changed(t, "policy-opa/policies.yaml", tt.old, tt.new)
			turn(t, slices.Concat([]string{"policy-opa", "--catalogue", dir}, only(opaClaims)), tt.turn)
		})
	}
}
