package verify_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// addons writes down what a run does with them; fail and stays are errors of
// Up and Away by name. Those called quiet… are quiet.
type addons struct {
	mu          sync.Mutex
	did         []string
	fail, stays map[string]error
}

func (a *addons) Quiet(name string) bool { return strings.HasPrefix(name, "quiet") }

func (a *addons) Up(_ context.Context, name string) (map[string]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
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
	const needs = "  needs: {addons: [a, b, quiet, quieter]}\n"
	for _, c := range []struct {
		name     string
		addons   *addons
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
			name: "the host can't have it", addons: &addons{fail: map[string]error{"a": host}},
			claims: []string{claim("a", ""), claim("b", "")}, did: "+a +b release", outcomes: "untestable confirmed", runs: 1,
		},
		{
			name: "it breaks", addons: &addons{fail: map[string]error{"a": broken}},
			claims: []string{claim("a", ""), claim("", "")}, did: "+a release", outcomes: "error confirmed", runs: 1,
		},
		{
			name: "it can't go", addons: &addons{stays: map[string]error{"a": host}},
			claims: []string{claim("", "a")}, did: "-a release", outcomes: "untestable",
		},
		{
			name: "left out", leaveOut: []string{"a"},
			claims: []string{claim("a, b", ""), claim("", "")}, did: "-a +b release", outcomes: "confirmed confirmed", runs: 2,
		},
		{
			name:   "quiet ones come beside plain claims",
			claims: []string{claim("quiet", ""), claim("", "a"), claim("a, quieter", ""), claim("quiet, quieter", "")},
			did:    "-a +quiet +quieter +a +quieter release", outcomes: "confirmed confirmed confirmed confirmed", runs: 4,
		},
		{
			name:   "a quiet one that is not wanted comes later",
			claims: []string{claim("quiet", ""), claim("", "quiet"), claim("", "")},
			did:    "-quiet +quiet release", outcomes: "confirmed confirmed confirmed", runs: 3,
		},
		{
			name: "a quiet one breaks", addons: &addons{fail: map[string]error{"quiet": broken}},
			claims: []string{claim("quiet", ""), claim("", "a"), claim("quieter", "")}, did: "-a +quiet +quieter release", outcomes: "error confirmed confirmed", runs: 2,
		},
		{
			name: "one can't go, the others are measured", addons: &addons{stays: map[string]error{"a": host}},
			claims: []string{claim("", "a"), claim("", "b"), claim("", "")}, did: "-a -b release", outcomes: "untestable confirmed confirmed", runs: 2,
		},
		{name: "no cluster", none: true, claims: []string{claim("a", ""), claim("", "")}, outcomes: "untestable confirmed", runs: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newStage()
			if c.addons == nil {
				c.addons = &addons{}
			}
			setup := verify.Setup{Kinds: g.kinds(), Addons: c.addons, LeaveOut: c.leaveOut}
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

// TestAddonsAreShared: what labs want of one add-on is measured together.
func TestAddonsAreShared(t *testing.T) {
	a := &addons{}
	const needs = "  needs: {addons: [a]}\n"
	labs := []*lab.Lab{makeLab(t, "one", needs, claim("a", "")), makeLab(t, "two", needs, claim("", ""), claim("a", ""))}
	r, err := verify.Run(t.Context(), verify.Plan{Labs: labs}, verify.Setup{Kinds: newStage().kinds(), Addons: a})
	if err != nil || r.ExitCode() != result.ExitOK {
		t.Fatal(err, r)
	}
	if did := strings.Join(a.did, " "); did != "+a release" {
		t.Errorf("did %q", did)
	}
}
