package report_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isolation-stack/labctl/pkg/compare"
	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/report"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// comparison has a difference, none, too few samples, what can't be measured
// and a runtime that broke.
func comparison() compare.Result {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	shape := []float64{1, 0.97, 1.05, 0.98, 1.02, 0.99}
	cost := map[string]float64{
		"pod.start": 0.412, "pod.runtime_start": 0.2, "pod.ready": 1.1, "pod.deleted": 0.9, "cpu": 3.1,
		"syscall": 120, "pread": 340, "write": 210e3, "read": 95e3, compare.MemoryFirst: 13 << 20, compare.MemoryNext: 11 << 20,
	}
	slower := map[string]float64{"runc": 1, "gvisor": 1.6, "wasmedge": 1.001}
	var all []compare.Samples
	for _, name := range []string{"runc", "gvisor", "wasmedge"} {
		s := compare.Samples{Subject: compare.Subject{Name: name, Runtime: name, Class: name + "-class"}, Seen: map[string][]compare.Seen{}}
		for _, m := range compare.Metrics() {
			n := len(shape)
			if m.Name == compare.MemoryNext {
				n = 3
			}
			source := evidence.Source{Kind: "clock", Ref: "a | clock", Where: "pod/" + name}
			for _, v := range shape[:n] {
				seen := compare.Seen{Value: v * cost[m.Name] * slower[name], Source: source}
				if name == "wasmedge" && m.Name == "syscall" {
					seen = compare.Seen{Untestable: "a module makes no system calls", Source: source}
				}
				s.Seen[m.Name] = append(s.Seen[m.Name], seen)
			}
		}
		all = append(all, s)
	}
	all = append(all,
		compare.Samples{Subject: compare.Subject{Name: "crun", Runtime: "runc", Class: "crun"}, Error: "the Pod didn't start\n  event: \x1b[31mno handler"},
		compare.Samples{Subject: compare.Subject{Name: "kata", Runtime: "runc"}, Untestable: "the cluster has no RuntimeClass for kata"})
	node := compare.Node{
		Name: "labctl-control-plane", Kernel: "6.18.0", Arch: "x86_64", CPU: "A | CPU", CPUs: 2, Memory: 24 << 30, Hypervisor: "kvm",
		Before: compare.Rest{Load: []float64{0.52, 0.6, 0.7}, Busy: 0.08}, After: compare.Rest{Load: []float64{1.9, 1, 0.7}, Busy: 0.4}, Steal: 0.001,
		Loop: compare.Loop{Command: "labprobe cpu", Unit: "ns/op"},
	}
	node.Loop.Add(3.05, 3.1)
	node.Loop.Add(3.06, 3.2)
	node.Judge()
	return compare.Result{
		APIVersion: lab.APIVersion, Kind: compare.Kind, Labctl: "v0.1.0", Started: began, Finished: began.Add(time.Minute),
		Cluster: result.Cluster{Version: "v1.34.4", Nodes: []result.Node{}}, Node: node,
		Method:  compare.Method{Rounds: 3, WarmUps: 1, VisitsPerRound: 2, Seed: 42, Order: [][]string{{"runc"}}, Baseline: "runc", Confidence: compare.Confidence, Alpha: compare.Alpha},
		Metrics: compare.Metrics(), Runtimes: compare.Evaluate(all, "runc"),
	}
}

func TestComparison(t *testing.T) {
	r := comparison()
	for _, format := range report.Formats {
		b, err := report.Comparison(format, r, report.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\x1b") {
			t.Errorf("%s: an escape of the cluster's reaches the terminal", format)
		}
		if format != "yaml" { // the same as JSON
			golden(t, "compare."+format, b)
		}
	}
	if _, err := report.Comparison("xml", r, report.Options{}); err == nil {
		t.Error("xml: no error")
	}
}

func TestComparisonRoundTrip(t *testing.T) {
	r := comparison()
	b, err := report.Comparison("json", r, report.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var back compare.Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, back) {
		t.Errorf("JSON doesn't come back:\n%+v\n%+v", r, back)
	}
}

// A quiet machine says so, a noisy one doesn't.
func TestComparisonNoise(t *testing.T) {
	for _, busy := range []float64{0.1, 0.9} {
		r := comparison()
		r.Node.After.Busy = busy
		r.Node.Judge()
		b, err := report.Comparison("table", r, report.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if noisy := strings.Contains(string(b), "NOISY MACHINE"); noisy != (busy > 0.5) {
			t.Errorf("busy %v: says noisy: %v", busy, noisy)
		}
	}
}
