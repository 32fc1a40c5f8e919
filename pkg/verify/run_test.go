package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// scripted is a probe that does what its parameters say.
type scripted struct {
	Answer int64  `json:"answer,omitempty"`
	Name   string `json:"name,omitempty"` // tells equal probes apart
	Do     string `json:"do,omitempty"`
	stage  *stage
}

// stage sees what probes do while they run.
type stage struct {
	mu         sync.Mutex
	runs       map[string]int
	namespaces map[string]bool
	running    atomic.Int32
	most       atomic.Int32
	left       atomic.Int32 // what probes left and somebody waited for
	crowded    atomic.Bool  // an exclusive probe was not alone
	cancel     context.CancelFunc
}

func (s scripted) Outputs() []evidence.Output {
	return []evidence.Output{
		{Name: "answer", Type: evidence.Int, Unit: "count"},
		{Name: "absent", Type: evidence.String},
		{Name: "memory", Type: evidence.Quantity, Unit: "bytes"},
	}
}

// Exclusive ones run in their order, after the others.
func (s scripted) Exclusive() bool { return s.Do == "alone" || s.Do == "interrupt" }

func (s scripted) Run(ctx context.Context, env probe.Environment) (evidence.Set, error) {
	g := s.stage
	now := g.running.Add(1)
	defer g.running.Add(-1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	g.mu.Lock()
	g.runs[s.Do+s.Name]++
	g.namespaces[env.Namespace] = true
	g.mu.Unlock()
	set := evidence.Set{{Name: "answer", Type: evidence.Int, Value: s.Answer}}
	switch s.Do {
	case "leave":
		env.Later(func(context.Context) error {
			time.Sleep(20 * time.Millisecond)
			g.left.Add(1)
			return errors.New("it is still there")
		})
	case "alone":
		if env.Later != nil {
			return nil, errors.New("what it leaves would disturb the next one")
		}
		if g.runs["leave"] > 0 && g.left.Load() == 0 {
			return nil, errors.New("what others left is still going")
		}
		time.Sleep(20 * time.Millisecond)
		if g.running.Load() != 1 {
			g.crowded.Store(true)
		}
	case "busy":
		time.Sleep(20 * time.Millisecond)
	case "break":
		return nil, errors.New("no such file")
	case "can't":
		return nil, evidence.Untestablef("no /dev/kvm here")
	case "partly":
		return set, fmt.Errorf("look: %w", evidence.Untestablef("no way to the node"))
	case "partly undeclared":
		set[0].Name = "question"
		return set, evidence.Untestablef("no way to the node")
	case "wrapped can't":
		return nil, fmt.Errorf("open: %w", evidence.Untestablef("no TPM here"))
	case "panic":
		panic("index out of range")
	case "hang":
		<-ctx.Done()
		return nil, ctx.Err()
	case "deaf":
		select {} // doesn't care about ctx
	case "interrupt":
		g.cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	case "undeclared":
		set[0].Name = "question"
	case "twice":
		set = append(set, set[0])
	case "wrong type":
		set[0].Type = evidence.String
	case "wrong value":
		set[0].Value = 3
	case "wrong unit":
		set[0].Unit = "bytes"
	case "no quantity":
		set = append(set, evidence.Value{Name: "memory", Type: evidence.Quantity, Value: "64Mo"})
	}
	return set, nil
}

func newStage() *stage { return &stage{runs: map[string]int{}, namespaces: map[string]bool{}} }

func (g *stage) kinds() []probe.Kind {
	return []probe.Kind{{Name: "scripted", Namespaced: true, New: func(params []byte) (probe.Probe, error) {
		p := scripted{stage: g}
		err := probe.Decode(params, &p)
		return p, err
	}}}
}

// makeLab makes a lab of claims written as YAML flow, with what all have in common filled in.
func makeLab(t *testing.T, name, extra string, claims ...string) *lab.Lab {
	t.Helper()
	text := "apiVersion: labctl.dev/v1alpha1\nkind: Lab\nmetadata: {name: " + name + "}\nspec:\n  document: d.md\n  title: {en: T, zh: 题}\n  layer: L-3\n" + extra + "  claims:\n"
	for i, c := range claims {
		if !strings.Contains(c, "layer:") {
			c += ", layer: L-3"
		}
		if !strings.Contains(c, "id:") {
			c += fmt.Sprintf(", id: %s-%d", name, i+1)
		}
		text += "  - {statement: {en: S, zh: 句}, source: {heading: H, line: 1, sha256: " + strings.Repeat("a", 64) + "}, " + c + "}\n"
	}
	l, problems := lab.Load(fstest.MapFS{"lab.yaml": {Data: []byte(text)}}, "lab.yaml")
	if problems.Err() != nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	return l
}

func probes(as, do string) string {
	return fmt.Sprintf(`{as: %s, kind: scripted, with: {answer: 42, do: "%s"}}`, as, do)
}

func TestVerdicts(t *testing.T) {
	refuted := "expect: refuted, truth: {en: x, zh: x}"
	for name, c := range map[string]struct {
		claim   string
		strict  bool
		outcome string
		ok      bool
		says    string // in the reason or the error
	}{
		"confirmed":                    {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "confirmed", ok: true},
		"refuted":                      {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 41", expect: confirmed`, outcome: "refuted"},
		"refuted as expected":          {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 41", ` + refuted, outcome: "refuted", ok: true},
		"confirmed against expect":     {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", ` + refuted, outcome: "confirmed"},
		"untestable":                   {claim: `probes: [` + probes("a", "can't") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "untestable", ok: true, says: "no /dev/kvm here"},
		"untestable, strict":           {claim: `probes: [` + probes("a", "can't") + `], decide: "a.answer == 42", expect: confirmed`, strict: true, outcome: "untestable", says: "no /dev/kvm here"},
		"untestable expected":          {claim: `probes: [` + probes("a", "can't") + `], decide: "a.answer == 42", expect: untestable`, strict: true, outcome: "untestable", ok: true, says: "no /dev/kvm here"},
		"untestable, joined":           {claim: `probes: [` + probes("a", "can't") + `,` + probes("b", "wrapped can't") + `,` + probes("c", "") + `], decide: "a.answer == b.answer && c.answer == 42", expect: confirmed`, outcome: "untestable", ok: true, says: "no /dev/kvm here; no TPM here"},
		"partly, and that is enough":   {claim: `probes: [` + probes("a", "partly") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "confirmed", ok: true},
		"partly, and it refutes":       {claim: `probes: [` + probes("a", "partly") + `], decide: "a.answer == 41", expect: confirmed`, outcome: "refuted"},
		"partly, and more is asked":    {claim: `probes: [` + probes("a", "partly") + `], decide: "a.answer == 42 || a.absent == 'x'", expect: confirmed`, outcome: "untestable", ok: true, says: "no way to the node"},
		"partly, and unless asks more": {claim: `probes: [` + probes("a", "partly") + `], decide: "a.answer == 42", unless: [{when: "!defined(a.absent)", verdict: inconclusive, because: {en: E, zh: Z}}], expect: confirmed`, outcome: "untestable", ok: true, says: "no way to the node"},
		"partly, beside nothing":       {claim: `probes: [` + probes("a", "partly") + `,` + probes("b", "can't") + `], decide: "a.answer == 42 || b.answer == 42", expect: confirmed`, outcome: "untestable", ok: true, says: "no /dev/kvm here; no way to the node"},
		"partly, and undeclared":       {claim: `probes: [` + probes("a", "partly undeclared") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned question, which it doesn't declare"},
		"error wins":                   {claim: `probes: [` + probes("a", "can't") + `,` + probes("b", "break") + `], decide: "a.answer == b.answer", expect: confirmed`, outcome: "error", says: "probe b (scripted): no such file"},
		"panic":                        {claim: `probes: [` + probes("a", "panic") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "probe a (scripted): the probe panicked: index out of range"},
		"timeout":                      {claim: `probes: [` + probes("a", "hang") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "took longer than 200ms: context deadline exceeded"},
		"deaf":                         {claim: `probes: [` + probes("a", "deaf") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "took longer than 200ms: the probe didn't end when it was told to"},
		"undeclared":                   {claim: `probes: [` + probes("a", "undeclared") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned question, which it doesn't declare"},
		"twice":                        {claim: `probes: [` + probes("a", "twice") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned answer twice"},
		"wrong type":                   {claim: `probes: [` + probes("a", "wrong type") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned answer as string, but declares int"},
		"wrong value":                  {claim: `probes: [` + probes("a", "wrong value") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned answer as int, but it holds int 3"},
		"wrong unit":                   {claim: `probes: [` + probes("a", "wrong unit") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "the probe returned answer in bytes, but declares count"},
		"no quantity":                  {claim: `probes: [` + probes("a", "no quantity") + `], decide: "a.answer == 42", expect: confirmed`, outcome: "error", says: "holds string 64Mo"},
		"missing value":                {claim: `probes: [` + probes("a", "") + `], decide: "a.absent == 'x'", expect: confirmed`, outcome: "error", says: "decide: the probe declared a.absent but didn't return it"},
		"missing value in unless":      {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", unless: [{when: "a.absent == 'x'", verdict: inconclusive, because: {en: E, zh: Z}}], expect: confirmed`, outcome: "error", says: "unless[0].when: the probe declared a.absent"},
		"unless holds":                 {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", unless: [{when: "!defined(a.absent)", verdict: inconclusive, because: {en: E, zh: Z}}], expect: confirmed`, outcome: "inconclusive", says: "E"},
		"the first unless wins":        {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", unless: [{when: "a.answer == 41", verdict: inconclusive, because: {en: A, zh: Z}}, {when: "a.answer > 41", verdict: untestable, because: {en: B, zh: Z}}, {when: "a.answer > 40", verdict: inconclusive, because: {en: C, zh: Z}}], expect: confirmed`, outcome: "untestable", ok: true, says: "B"},
		"unless doesn't hold":          {claim: `probes: [` + probes("a", "") + `], decide: "a.answer == 42", unless: [{when: "a.answer == 41", verdict: inconclusive, because: {en: A, zh: Z}}], expect: confirmed`, outcome: "confirmed", ok: true},
		"planned":                      {claim: `expect: planned, because: {en: later, zh: 以后}`, strict: true, outcome: "planned", ok: true, says: "later"},
		"untestable without probes":    {claim: `expect: untestable, because: {en: needs silicon, zh: 需要硬件}`, strict: true, outcome: "untestable", ok: true, says: "needs silicon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := makeLab(t, "one", "", c.claim)
			r, err := verify.Run(t.Context(), verify.Plan{Labs: []*lab.Lab{l}, Strict: c.strict}, verify.Setup{Kinds: newStage().kinds(), Timeout: 200 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			got := r.Labs[0].Claims[0]
			says := got.Error
			if got.Reason != nil {
				says = got.Reason.EN
			}
			if got.Outcome() != c.outcome || got.OK != c.ok || !strings.Contains(says, c.says) || (says != "") != (c.says != "") {
				t.Errorf("got %s, ok %v, %q; want %s, ok %v, %q", got.Outcome(), got.OK, says, c.outcome, c.ok, c.says)
			}
			wantCode := result.ExitOK
			if !c.ok {
				wantCode = result.ExitFailed
			}
			if r.ExitCode() != wantCode {
				t.Errorf("exit code %d", r.ExitCode())
			}
		})
	}
}

func TestEvidenceIsKept(t *testing.T) {
	l := makeLab(t, "one", "", `probes: [`+probes("a", "")+`], decide: "a.answer == 42", expect: confirmed`)
	r, err := verify.Run(t.Context(), verify.Plan{Labs: []*lab.Lab{l}}, verify.Setup{Kinds: newStage().kinds(), Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	v, ok := r.Labs[0].Claims[0].Evidence.Get("a.answer")
	if !ok || v.Value != int64(42) || v.Unit != "count" {
		t.Errorf("evidence %+v", v)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := result.Read(data)
	if err != nil || !reflect.DeepEqual(back, r) {
		t.Errorf("doesn't survive JSON: %v\n%+v\n%+v", err, back, r)
	}
}

func TestProbesAreShared(t *testing.T) {
	g := newStage()
	same := `probes: [{as: a, kind: scripted, with: {answer: 42, do: busy}}], decide: "a.answer == 42", expect: confirmed`
	otherOrder := `probes: [{as: b, kind: scripted, with: {do: busy, answer: 42}}], decide: "b.answer == 42", expect: confirmed`
	another := `probes: [{as: b, kind: scripted, with: {do: busy, name: x, answer: 42}}], decide: "b.answer == 42", expect: confirmed`
	labs := []*lab.Lab{makeLab(t, "one", "", same, otherOrder, another), makeLab(t, "two", "", same)}
	r, err := verify.Run(t.Context(), verify.Plan{Labs: labs}, verify.Setup{Kinds: g.kinds()})
	if err != nil || r.ExitCode() != 0 {
		t.Fatalf("%v, exit %d", err, r.ExitCode())
	}
	if g.runs["busy"] != 1 || g.runs["busyx"] != 1 {
		t.Errorf("runs: %v", g.runs)
	}
}

func TestProbesRunSideBySide(t *testing.T) {
	g := newStage()
	var claims []string
	for i := range 12 {
		do := "busy"
		if i%4 == 0 {
			do = "alone"
		}
		claims = append(claims, fmt.Sprintf(`probes: [{as: a, kind: scripted, with: {answer: 42, do: %s, name: n%d}}], decide: "a.answer == 42", expect: confirmed`, do, i))
	}
	r, err := verify.Run(t.Context(), verify.Plan{Labs: []*lab.Lab{makeLab(t, "one", "", claims...)}}, verify.Setup{Kinds: g.kinds()})
	if err != nil || r.Sum().Confirmed != 12 {
		t.Fatalf("%v, %+v", err, r.Sum())
	}
	if g.crowded.Load() {
		t.Error("an exclusive probe was not alone")
	}
	if most := g.most.Load(); most < 2 || int(most) > max(4, 3*runtime.NumCPU()) {
		t.Errorf("%d probes at once, want 2 to %d", most, max(4, 3*runtime.NumCPU()))
	}
}

// TestWhatProbesLeave wants what probes leave to be waited for before anything
// that wants to be alone and at the run's end, and to fail nothing.
func TestWhatProbesLeave(t *testing.T) {
	g := newStage()
	l := makeLab(t, "leaves", "",
		`probes: [`+probes("a", "leave")+`], decide: "a.answer == 42", expect: confirmed`,
		`probes: [`+probes("a", "alone")+`], decide: "a.answer == 42", expect: confirmed`,
	)
	again := makeLab(t, "leaves-again", "", `probes: [{as: a, kind: scripted, with: {answer: 42, do: leave, name: again}}], decide: "a.answer == 42", expect: confirmed`)
	got, err := verify.Run(t.Context(), verify.Plan{Labs: []*lab.Lab{l, again}}, verify.Setup{Kinds: g.kinds()})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got.Labs {
		for _, c := range l.Claims {
			if !c.OK {
				t.Errorf("%s: %s %s", c.ID, c.Verdict, c.Error)
			}
		}
	}
	if n := g.left.Load(); n != 2 || got.ExitCode() != 0 {
		t.Errorf("%d were waited for, want 2; exit code %d", n, got.ExitCode())
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := newStage()
	g.cancel = cancel
	first := makeLab(t, "one", "", `probes: [`+probes("a", "")+`], decide: "a.answer == 42", expect: confirmed`)
	second := makeLab(t, "two", "", `probes: [`+probes("a", "interrupt")+`], decide: "a.answer == 42", expect: confirmed`, `expect: planned, because: {en: x, zh: x}`)
	third := makeLab(t, "three", "", `probes: [`+probes("a", "alone")+`], decide: "a.answer == 42", expect: confirmed`)
	r, err := verify.Run(ctx, verify.Plan{Labs: []*lab.Lab{first, second, third}}, verify.Setup{Kinds: g.kinds()})
	if err != nil {
		t.Fatal(err)
	}
	want := result.Total{Claims: 4, Confirmed: 1, Planned: 1, NotRun: 2, Failed: 2}
	if !r.Interrupted || r.ExitCode() != result.ExitInterrupted || r.Sum() != want {
		t.Errorf("interrupted %v, exit %d, %+v", r.Interrupted, r.ExitCode(), r.Sum())
	}
}

func TestFilters(t *testing.T) {
	claim := func(id, layer string) string {
		return fmt.Sprintf(`id: %s, layer: %s, expect: planned, because: {en: x, zh: x}`, id, layer)
	}
	l := makeLab(t, "one", "", claim("29-1", "L-0"), claim("29-1.pod", "L-3"), claim("29-10", "L-3"))
	other := makeLab(t, "two", "", claim("30-1", "L-4"))
	for name, c := range map[string]struct {
		plan verify.Plan
		want string
	}{
		"all":             {verify.Plan{}, "29-1 29-1.pod 29-10 30-1"},
		"a layer":         {verify.Plan{Layers: []lab.Layer{lab.L3, lab.L4}}, "29-1.pod 29-10 30-1"},
		"a claim":         {verify.Plan{Claims: []string{"29-1"}}, "29-1 29-1.pod"},
		"a part":          {verify.Plan{Claims: []string{"29-1.pod"}}, "29-1.pod"},
		"both":            {verify.Plan{Claims: []string{"29-1"}, Layers: []lab.Layer{lab.L3}}, "29-1.pod"},
		"unknown claims":  {verify.Plan{Claims: []string{"29-1", "29-2", "x"}}, "no claim 29-2, x in the labs one, two"},
		"nothing left":    {verify.Plan{Claims: []string{"29-1"}, Layers: []lab.Layer{lab.L4}}, "no claim of the labs one, two fits the filters"},
		"a layer without": {verify.Plan{Layers: []lab.Layer{lab.Storage}}, "no claim of the labs one, two fits the filters"},
	} {
		t.Run(name, func(t *testing.T) {
			c.plan.Labs = []*lab.Lab{l, other}
			r, err := verify.Run(t.Context(), c.plan, verify.Setup{})
			got := ""
			if err != nil {
				got = err.Error()
			}
			for _, l := range r.Labs {
				for _, claim := range l.Claims {
					got = strings.TrimSpace(got + " " + claim.ID)
				}
			}
			if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestWrongSpecsRunNothing(t *testing.T) {
	g := newStage()
	good := `probes: [` + probes("a", "") + `], decide: "a.answer == 42", expect: confirmed`
	for name, c := range map[string]struct {
		labs []*lab.Lab
		want string
	}{
		"unknown kind":      {[]*lab.Lab{makeLab(t, "one", "", good, `probes: [{as: a, kind: scriptd}], decide: "a.answer == 42", expect: confirmed`)}, `lab.yaml:10:`},
		"unknown parameter": {[]*lab.Lab{makeLab(t, "one", "", good, `probes: [{as: a, kind: scripted, with: {anser: 1}}], decide: "a.answer == 42", expect: confirmed`)}, `spec.claims[1].probes[0].with.anser: parameters: unknown field "anser"`},
		"CEL":               {[]*lab.Lab{makeLab(t, "one", "", good, `probes: [`+probes("a", "")+`], decide: "a.answer", expect: confirmed`)}, "spec.claims[1].decide: CEL: gives int; it must give a bool"},
		"same names":        {[]*lab.Lab{makeLab(t, "one", "", good), makeLab(t, "one", "", good)}, "metadata.name: the lab one is already at"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verify.Run(t.Context(), verify.Plan{Labs: c.labs}, verify.Setup{Kinds: g.kinds()})
			var problems lab.Problems
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	if len(g.runs) > 0 {
		t.Errorf("probes ran: %v", g.runs)
	}
}

// server is an API that remembers what it was asked.
type server struct {
	facts, open, closing error
	mu                   sync.Mutex
	opened, closed       []string
}

// log is what was asked, openings in their order and then closings by name.
func (s *server) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(append(slices.Clone(s.opened), slices.Sorted(slices.Values(s.closed))...), "|")
}

func (s *server) Facts(context.Context) (result.Cluster, error) {
	return result.Cluster{Version: "v1.37.2", Nodes: []result.Node{{Name: "n"}}}, s.facts
}

func (s *server) Open(_ context.Context, namespace string, manifests []string) (func(context.Context) error, error) {
	s.opened = append(s.opened, "open "+namespace+" "+strings.Join(manifests, ","))
	return func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed = append(s.closed, "close "+namespace)
		return s.closing
	}, s.open
}

type cluster struct{}

func (cluster) RESTConfig() *rest.Config         { return nil }
func (cluster) Nodes() []string                  { return []string{"n"} }
func (cluster) Node(string) probe.Place          { return nil }
func (cluster) ProbeImage(runtime string) string { return runtime }
func (cluster) RuntimeClass(runtime string) (string, bool) {
	return "class-" + runtime, runtime != "wasmedge"
}

func TestNamespaces(t *testing.T) {
	good := `probes: [` + probes("a", "") + `], decide: "a.answer == 42", expect: confirmed`
	labs := []*lab.Lab{
		makeLab(t, "bare", "", good),
		makeLab(t, "applies", "  manifests: [x.yaml, y.yaml]\n", good),
		makeLab(t, "bare-too", "", good),
		makeLab(t, "host", "  needs: {nodes: 0}\n", good),
		makeLab(t, "thinks", "", `expect: planned, because: {en: x, zh: x}`),
	}
	for name, c := range map[string]struct {
		server *server
		want   string // what the API server was asked
		error  string // what the first lab that has one says
		code   int
	}{
		"all well":   {&server{}, "open labctl |open labctl-applies x.yaml,y.yaml|close labctl|close labctl-applies", "", 0},
		"refused":    {&server{open: errors.New("x.yaml:3: refused")}, "open labctl |open labctl-applies x.yaml,y.yaml|close labctl|close labctl-applies", "x.yaml:3: refused", 1},
		"left there": {&server{closing: errors.New("forbidden")}, "open labctl |open labctl-applies x.yaml,y.yaml|close labctl|close labctl-applies", "cleaning up namespace labctl: forbidden", 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := newStage()
			r, err := verify.Run(t.Context(), verify.Plan{Labs: labs}, verify.Setup{Kinds: g.kinds(), API: c.server, Env: probe.Environment{Cluster: cluster{}}})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.server.log(); got != c.want {
				t.Errorf("asked %s\nwant  %s", got, c.want)
			}
			if r.Labs[0].Error != c.error || r.ExitCode() != c.code {
				t.Errorf("error %q, exit %d", r.Labs[0].Error, r.ExitCode())
			}
			if r.Cluster.RuntimeClasses["gvisor"] != "class-gvisor" || len(r.Cluster.RuntimeClasses) != 2 {
				t.Errorf("classes %v", r.Cluster.RuntimeClasses)
			}
			if c.server.open == nil && !reflect.DeepEqual(g.namespaces, map[string]bool{"labctl": true, "labctl-applies": true, "": true}) {
				t.Errorf("namespaces of probes: %v", g.namespaces)
			}
			if c.server.open != nil && (r.Sum().Errors != 3 || !strings.HasPrefix(r.Labs[1].Claims[0].Error, "the lab could not be set up: x.yaml:3: refused")) {
				t.Errorf("%+v, %q", r.Sum(), r.Labs[1].Claims[0].Error)
			}
		})
	}
	_, err := verify.Run(t.Context(), verify.Plan{Labs: labs}, verify.Setup{Kinds: newStage().kinds(), API: &server{facts: errors.New("connection refused")}})
	if err == nil || err.Error() != "the cluster can't be used: connection refused" {
		t.Errorf("no server: %v", err)
	}
}

func TestCleansUpAfterAnInterruption(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	g := newStage()
	g.cancel = cancel
	s := &server{}
	l := makeLab(t, "one", "  manifests: [x.yaml]\n", `probes: [`+probes("a", "interrupt")+`], decide: "a.answer == 42", expect: confirmed`)
	r, err := verify.Run(ctx, verify.Plan{Labs: []*lab.Lab{l}}, verify.Setup{Kinds: g.kinds(), API: s, Env: probe.Environment{Cluster: cluster{}}})
	if err != nil || !r.Interrupted {
		t.Fatalf("%v, %+v", err, r)
	}
	if got := s.log(); got != "open labctl-one x.yaml|close labctl-one" {
		t.Errorf("asked %s", got)
	}
}
