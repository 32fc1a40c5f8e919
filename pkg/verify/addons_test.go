package verify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// addons writes down what a run does with them; fail and stays are errors of
// Up and Away by name.
type addons struct {
	did         []string
	fail, stays map[string]error
}

func (a *addons) Up(_ context.Context, name string) (map[string]string, error) {
	a.did = append(a.did, "+"+name)
	return map[string]string{name: "localhost/labctl/" + name + ":1"}, a.fail[name]
}

func (a *addons) Away(_ context.Context, name string) error {
	a.did = append(a.did, "-"+name)
	return a.stays[name]
}

func (a *addons) Release(context.Context) error {
	a.did = append(a.did, "release")
	return nil
}

// claim is one with the add-ons, whose probe says what it is by its name.
func claim(with, without string) string {
	return "addons: [" + with + "], without: [" + without + "], probes: [" + probes("p", "") + "], decide: p.answer == 42, expect: confirmed"
}

func TestAddons(t *testing.T) {
	host, broken := evidence.Untestablef("no Go here"), errors.New("it isn't ready")
	const needs = "  needs: {addons: [a, b]}\n"
	for _, c := range []struct {
		name     string
		addons   addons
		leaveOut []string
		none     bool // the run has no cluster
		claims   []string
		did      string
		outcomes string
		runs     int // of probes: equal ones are shared where the add-ons are the same
	}{
		{name: "none are named", claims: []string{claim("", "")}, did: "release", outcomes: "confirmed", runs: 1},
		{
			name:   "plain claims first, away before up, each set once",
			claims: []string{claim("a", ""), claim("", ""), claim("a, b", ""), claim("", "a"), claim("a", "")},
			did:    "-a +a +a +b release", outcomes: "confirmed confirmed confirmed confirmed confirmed", runs: 4,
		},
		{
			name: "the host can't have it", addons: addons{fail: map[string]error{"a": host}},
			claims: []string{claim("a", ""), claim("b", "")}, did: "+a +b release", outcomes: "untestable confirmed", runs: 1,
		},
		{
			name: "it breaks", addons: addons{fail: map[string]error{"a": broken}},
			claims: []string{claim("a", ""), claim("", "")}, did: "+a release", outcomes: "error confirmed", runs: 1,
		},
		{
			name: "it can't go", addons: addons{stays: map[string]error{"a": host}},
			claims: []string{claim("", "a")}, did: "-a release", outcomes: "untestable",
		},
		{
			name: "left out", leaveOut: []string{"a"},
			claims: []string{claim("a, b", ""), claim("", "")}, did: "-a +b release", outcomes: "confirmed confirmed", runs: 2,
		},
		{name: "no cluster", none: true, claims: []string{claim("a", ""), claim("", "")}, outcomes: "untestable confirmed", runs: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newStage()
			setup := verify.Setup{Kinds: g.kinds(), Addons: &c.addons, LeaveOut: c.leaveOut}
			if c.none {
				setup.Addons = nil
			}
			r, err := verify.Run(t.Context(), verify.Plan{Labs: []*lab.Lab{makeLab(t, "l", needs, c.claims...)}}, setup)
			if err != nil {
				t.Fatal(err)
			}
			if did := strings.Join(c.addons.did, " "); did != c.did {
				t.Errorf("did %q, want %q", did, c.did)
			}
			var outcomes []string
			for _, claim := range r.Labs[0].Claims {
				outcomes = append(outcomes, claim.Outcome())
			}
			if !slices.Equal(outcomes, strings.Fields(c.outcomes)) {
				t.Errorf("outcomes %q, want %q", outcomes, c.outcomes)
			}
			runs := 0
			for _, n := range g.runs {
				runs += n
			}
			if runs != c.runs {
				t.Errorf("%d probes ran, want %d", runs, c.runs)
			}
		})
	}
}

// TestAddonsStay: a lab that wants the add-on of the lab before finds it up.
func TestAddonsStay(t *testing.T) {
	a := &addons{}
	const needs = "  needs: {addons: [a]}\n"
	labs := []*lab.Lab{makeLab(t, "one", needs, claim("a", "")), makeLab(t, "two", needs, claim("", ""), claim("a", ""))}
	r, err := verify.Run(t.Context(), verify.Plan{Labs: labs}, verify.Setup{Kinds: newStage().kinds(), Addons: a})
	if err != nil || r.ExitCode() != result.ExitOK {
		t.Fatal(err, r)
	}
	if did := strings.Join(a.did, " "); did != "+a +a release" {
		t.Errorf("did %q", did)
	}
}
