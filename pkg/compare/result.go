// Package compare says how runtimes differ: from samples to medians, ratios
// and verdicts. Its functions are pure; pkg/compare/measure takes the samples.
package compare

import (
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// Kind is the type of a Result in JSON; its API version is that of labs.
const Kind = "Comparison"

// Result is one comparison of runtimes; docs/compare.md describes its JSON.
type Result struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Labctl is the version of the program that ran.
	Labctl   string    `json:"labctl"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	// Interrupted says that the run was ended before the last round.
	Interrupted bool           `json:"interrupted,omitempty"`
	Cluster     result.Cluster `json:"cluster"`
	Node        Node           `json:"node"`
	Method      Method         `json:"method"`
	Metrics     []Metric       `json:"metrics"`
	Runtimes    []Runtime      `json:"runtimes"`
}

// Method is how it was measured and judged.
type Method struct {
	// Rounds that count, and rounds before them that don't.
	Rounds  int `json:"rounds"`
	WarmUps int `json:"warmUps"`
	// VisitsPerRound is how many Pods of each runtime a round has.
	VisitsPerRound int `json:"visitsPerRound"`
	// Seed of the order, which is repeated by the same seed and runtimes.
	Seed uint64 `json:"seed"`
	// Order names the runtimes in the order in which their Pods were made,
	// a list a round, the warm-up first.
	Order [][]string `json:"order"`
	// Baseline is the runtime that the others are compared with.
	Baseline string `json:"baseline"`
	// Confidence that intervals of medians aim at, and those of all ratios of
	// a runtime together; Alpha is the error rate of its verdicts together.
	Confidence float64 `json:"confidence"`
	Alpha      float64 `json:"alpha"`
}

// Metric is one thing that is measured; less is better for all of them.
type Metric struct {
	Name string `json:"name"`
	// Unit is s, ns/op or bytes.
	Unit string `json:"unit"`
	// Doc says what exactly is measured.
	Doc string `json:"doc"`
}

// Subject is what is compared: Pods of one RuntimeClass.
type Subject struct {
	// Name is the runtime's, or the class's where that was named.
	Name string `json:"name"`
	// Runtime decides on the program: wasmedge gets labprobe as a
	// WebAssembly module, all others the native one.
	Runtime string `json:"runtime"`
	// Class is the RuntimeClass; empty where the cluster has none.
	Class string `json:"class,omitempty"`
}

// Runtime is what came of one subject.
type Runtime struct {
	Subject
	// Error says which Pod broke, and how; there are no numbers then.
	Error string `json:"error,omitempty"`
	// Untestable is why the cluster can't show it as a whole.
	Untestable string `json:"untestable,omitempty"`
	// Results are in the order of Metrics, all of them unless it broke.
	Results []Measured `json:"results,omitempty"`
}

// Measured is one metric of one runtime.
type Measured struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// Samples are in the order in which they were taken, each from a Pod of
	// its own (memory.next: from a pair of Pods).
	Samples []float64 `json:"samples,omitempty"`
	// Median with its interval; absent without samples.
	Median *Estimate `json:"median,omitempty"`
	// Difference from the baseline; absent for the baseline itself.
	Difference *Difference `json:"difference,omitempty"`
	// Untestable is why there is no number.
	Untestable string `json:"untestable,omitempty"`
	// Source is where the last sample came from.
	Source *evidence.Source `json:"source,omitempty"`
}

// Estimate is a number and the interval that holds the true one with at least
// this confidence, which is below Method.Confidence where there are too few
// samples for that.
type Estimate struct {
	Value      float64 `json:"value"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
}

// Verdict of a difference.
type Verdict string

// The verdicts. NoDifference means that none was shown, not that there is
// none: the ratio's interval says how large it may still be.
const (
	Differs      Verdict = "differs"
	NoDifference Verdict = "no difference shown"
	TooFew       Verdict = "too few samples"
)

// Difference compares a runtime's samples with the baseline's.
type Difference struct {
	// Ratio to the baseline; absent where a sample is 0 or below.
	Ratio *Estimate `json:"ratio,omitempty"`
	// P is that of the Mann-Whitney U test. The runtime differs where it is
	// not above Level: Method.Alpha by the number of metrics that are compared
	// for this runtime, so that Alpha holds for all of them together. The
	// ratio's interval has a confidence of at least 1 - Level.
	P       float64 `json:"p"`
	Level   float64 `json:"level"`
	Verdict Verdict `json:"verdict"`
}
