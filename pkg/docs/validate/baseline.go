package validate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/lab"
)

// BaselineKind is the kind of a baseline file.
const BaselineKind = "DocsBaseline"

// Baseline holds findings that are known, so that only new ones count.
type Baseline struct {
	Findings []Entry
}

// Entry is a known finding. It knows its example by content, so that it holds
// wherever the example stands, and not if it changes.
type Entry struct {
	Path   string `json:"path"`
	Rule   string `json:"rule"`
	Field  string `json:"field,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	// Count is how many findings are the same, 1 if absent.
	Count int `json:"count,omitempty"`
	// Message is for people; it isn't compared.
	Message string `json:"message,omitempty"`
}

// key is what makes findings the same.
type key struct{ path, rule, field, sha256 string }

func (e Entry) key() key { return key{e.Path, e.Rule, e.Field, e.SHA256} }

func keyOf(f docs.Finding) key { return key{f.Path, f.Rule, f.Field, f.SHA256} }

// NewBaseline holds findings.
func NewBaseline(findings []docs.Finding) Baseline {
	index := map[key]int{}
	b := Baseline{Findings: []Entry{}}
	for _, f := range findings {
		i, ok := index[keyOf(f)]
		if !ok {
			i = len(b.Findings)
			index[keyOf(f)] = i
			b.Findings = append(b.Findings, Entry{Path: f.Path, Rule: f.Rule, Field: f.Field, SHA256: f.SHA256, Message: f.Message})
			continue
		}
		b.Findings[i].Count = max(b.Findings[i].Count, 1) + 1
	}
	b.sort()
	return b
}

// keep adds the entries of another baseline that are wanted.
func (b *Baseline) keep(other Baseline, wanted func(Entry) bool) {
	for _, e := range other.Findings {
		if wanted(e) {
			b.Findings = append(b.Findings, e)
		}
	}
	b.sort()
}

func (b *Baseline) sort() {
	slices.SortStableFunc(b.Findings, func(x, y Entry) int {
		return cmp.Or(strings.Compare(x.Path, y.Path), strings.Compare(x.Rule, y.Rule), strings.Compare(x.SHA256, y.SHA256), strings.Compare(x.Field, y.Field))
	})
}

var staleBaseline = docs.Rule{
	ID: "baseline-stale", Severity: docs.Note,
	Title: "the baseline has a finding that isn't there any more",
	Help:  "It was fixed, or its example changed and is found anew. Write the baseline again (labctl docs validate --baseline FILE --write-baseline), so that it can't come back unseen.",
}

// Apply takes known findings out. It gives those that are new, how many are
// known, and a finding for each entry that nothing matched; here says of an
// entry whether this run would have found it.
func (b Baseline) Apply(findings []docs.Finding, here func(Entry) bool) (fresh []docs.Finding, known int, stale []docs.Finding) {
	left := map[key]int{}
	for _, e := range b.Findings {
		left[e.key()] += max(e.Count, 1)
	}
	fresh = []docs.Finding{}
	for _, f := range findings {
		if k := keyOf(f); left[k] > 0 {
			left[k]--
			known++
		} else {
			fresh = append(fresh, f)
		}
	}
	for _, e := range b.Findings {
		n := left[e.key()]
		if n == 0 || !here(e) {
			continue
		}
		left[e.key()] = 0
		message := fmt.Sprintf("The baseline has %d more of %s (%s)", n, e.Rule, e.Message)
		if e.Field != "" {
			message += " in " + e.Field
		}
		stale = append(stale, docs.Finding{Rule: staleBaseline.ID, Severity: staleBaseline.Severity, Path: e.Path, Message: message + " than there are; write the baseline again."})
	}
	return fresh, known, stale
}

type baselineFile struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Findings   []Entry `json:"findings"`
}

// ReadBaseline reads a baseline file.
func ReadBaseline(data []byte) (Baseline, error) {
	var f baselineFile
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Baseline{}, fmt.Errorf("is no baseline: %w; write one with --write-baseline", err)
	}
	if f.APIVersion != lab.APIVersion || f.Kind != BaselineKind {
		return Baseline{}, fmt.Errorf("is %s %s; this labctl reads %s %s", f.APIVersion, f.Kind, lab.APIVersion, BaselineKind)
	}
	return Baseline{f.Findings}, nil
}

// Bytes is the baseline as a file, the same for the same findings.
func (b Baseline) Bytes() ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(baselineFile{lab.APIVersion, BaselineKind, b.Findings}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
