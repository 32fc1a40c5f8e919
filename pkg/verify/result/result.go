// Package result is what a run gives: one value, stable as JSON, from which
// every report is made. Its functions are pure.
package result

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
)

// Kind is the type of a Result in JSON; its API version is that of labs.
const Kind = "Result"

// Result is one run of labs.
type Result struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Labctl is the version of the program that ran.
	Labctl   string    `json:"labctl"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Interrupted says that the run was ended before every probe had run.
	Interrupted bool `json:"interrupted,omitempty"`
	// Strict says that an untestable claim fails the run.
	Strict  bool     `json:"strict,omitempty"`
	Host    Host     `json:"host"`
	Cluster *Cluster `json:"cluster,omitempty"`
	Labs    []Lab    `json:"labs"`
}

// Host is the machine that labctl ran on.
type Host struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel,omitempty"`
	CPUs   int    `json:"cpus"`
	// Memory is in bytes, 0 if unknown.
	Memory int64 `json:"memory,omitempty"`
}

// Cluster is the cluster that the labs ran in.
type Cluster struct {
	Version string `json:"version"`
	Nodes   []Node `json:"nodes"`
	// RuntimeClasses are the classes by runtime (runc, gvisor, wasmedge).
	RuntimeClasses map[string]string `json:"runtimeClasses,omitempty"`
}

// Node is one node of the cluster.
type Node struct {
	Name string `json:"name"`
	// Kernel, OS and Runtime are what the kubelet reports (containerd://2.1.4).
	Kernel  string `json:"kernel"`
	OS      string `json:"os"`
	Runtime string `json:"runtime"`
}

// Lab is what came of one lab.
type Lab struct {
	Name     string    `json:"name"`
	Title    lab.Text  `json:"title"`
	Document string    `json:"document"`
	Layer    lab.Layer `json:"layer"`
	// Error says why the lab as a whole could not be set up.
	Error string `json:"error,omitempty"`
	// Seconds is how long the lab's probes took, added up. Probes run side by
	// side, those of other labs too, so a run takes less than the sum.
	Seconds float64 `json:"seconds"`
	Claims  []Claim `json:"claims"`
}

// Claim is what came of one claim. Without a verdict it broke (Error) or the
// run was interrupted before it was decided.
type Claim struct {
	ID        string      `json:"id"`
	Layer     lab.Layer   `json:"layer"`
	Statement lab.Text    `json:"statement"`
	Source    lab.Source  `json:"source"`
	Verdict   lab.Verdict `json:"verdict,omitempty"`
	Expected  lab.Verdict `json:"expected"`
	// OK says that the claim doesn't fail the run.
	OK bool `json:"ok"`
	// Reason is why the verdict is untestable, inconclusive or planned.
	Reason *lab.Text `json:"reason,omitempty"`
	// Truth is what is true instead, where the claim was expected to be refuted.
	Truth *lab.Text `json:"truth,omitempty"`
	// Error says what broke.
	Error string `json:"error,omitempty"`
	// Decide is the expression that decides.
	Decide string `json:"decide,omitempty"`
	// Show names the values that a table shows; all if empty.
	Show     []string     `json:"show,omitempty"`
	Evidence evidence.Set `json:"evidence,omitempty"`
	// Seconds is how long the claim's slowest probe took; probes are shared
	// between claims and run side by side.
	Seconds float64 `json:"seconds"`
}

// The outcomes of claims that have no verdict.
const (
	Error  = "error"
	NotRun = "not run"
)

// Outcome is the verdict, Error or NotRun.
func (c Claim) Outcome() string {
	switch {
	case c.Error != "":
		return Error
	case c.Verdict == "":
		return NotRun
	}
	return string(c.Verdict)
}

// Shown is the evidence that a table shows.
func (c Claim) Shown() evidence.Set {
	if len(c.Show) == 0 {
		return c.Evidence
	}
	var shown evidence.Set
	for _, name := range c.Show {
		if v, ok := c.Evidence.Get(name); ok {
			shown = append(shown, v)
		}
	}
	return shown
}

// Total counts the claims of a layer by outcome.
type Total struct {
	// Layer is empty for the sum of all.
	Layer        lab.Layer `json:"layer,omitempty"`
	Claims       int       `json:"claims"`
	Confirmed    int       `json:"confirmed"`
	Refuted      int       `json:"refuted"`
	Inconclusive int       `json:"inconclusive"`
	Untestable   int       `json:"untestable"`
	Planned      int       `json:"planned"`
	Errors       int       `json:"errors"`
	NotRun       int       `json:"notRun"`
	// Failed are those that fail the run.
	Failed int `json:"failed"`
}

func (t *Total) add(c Claim) {
	t.Claims++
	if !c.OK {
		t.Failed++
	}
	switch c.Outcome() {
	case string(lab.Confirmed):
		t.Confirmed++
	case string(lab.Refuted):
		t.Refuted++
	case string(lab.Inconclusive):
		t.Inconclusive++
	case string(lab.Untestable):
		t.Untestable++
	case string(lab.Planned):
		t.Planned++
	case Error:
		t.Errors++
	default:
		t.NotRun++
	}
}

// Totals counts the claims of each layer that has some, in the order of layers.
func (r Result) Totals() []Total {
	var totals []Total
	for _, layer := range lab.Layers {
		t := Total{Layer: layer}
		for c := range r.claims() {
			if c.Layer == layer {
				t.add(c)
			}
		}
		if t.Claims > 0 {
			totals = append(totals, t)
		}
	}
	return totals
}

// Total counts the claims of a lab.
func (l Lab) Total() Total {
	var t Total
	for _, c := range l.Claims {
		t.add(c)
	}
	return t
}

// Sum counts all claims.
func (r Result) Sum() Total {
	var t Total
	for c := range r.claims() {
		t.add(c)
	}
	return t
}

func (r Result) claims() func(yield func(Claim) bool) {
	return func(yield func(Claim) bool) {
		for _, l := range r.Labs {
			for _, c := range l.Claims {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Failed are the ids of the claims that failed the run: those whose verdict
// wasn't the expected one, that broke, or that weren't reached.
func (r Result) Failed() []string {
	var ids []string
	for c := range r.claims() {
		if !c.OK {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// The exit codes of a run.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// ExitCode is ExitInterrupted for a run that was interrupted, ExitFailed where
// a verdict differs from the expected one or something broke, else ExitOK.
func (r Result) ExitCode() int {
	switch {
	case r.Interrupted:
		return ExitInterrupted
	case r.Sum().Failed > 0:
		return ExitFailed
	}
	for _, l := range r.Labs {
		if l.Error != "" {
			return ExitFailed
		}
	}
	return ExitOK
}

// Read restores a result from JSON.
func Read(b []byte) (Result, error) {
	var r Result
	if err := json.Unmarshal(b, &r); err != nil {
		return Result{}, fmt.Errorf("not a labctl result: %w", err)
	}
	if r.APIVersion != lab.APIVersion || r.Kind != Kind {
		return Result{}, fmt.Errorf("not a labctl result: it is %q %q, this labctl reads %s %s", r.APIVersion, r.Kind, lab.APIVersion, Kind)
	}
	return r, nil
}
