package pod

import (
	"slices"
	"time"

	"github.com/isolation-stack/labctl/pkg/evidence"
)

// span is one time of a Pod's life: between what and what, by which clock.
type span struct {
	name, doc, ref string
	// when says which Pods have it.
	when func(observed bool) bool
}

func always(bool) bool                 { return true }
func observedOnly(o bool) bool         { return o }
func notObserved(o bool) bool          { return !o }
func (s span) source() evidence.Source { return evidence.Source{Kind: "clock", Ref: s.ref} }

// spans are the times that are measured. The API's own timestamps have whole
// seconds, and what a watch shows is late by kubelet's relisting (up to 1 s),
// so starts and ends are containerd's: the CRI plugin keeps them with
// nanoseconds in containers/ID/status.
var spans = []span{
	{"pod.start", "from asking for the Pod to its main container started",
		"from sending the create request (labctl's clock) to StartedAt in containerd's container status", always},
	{"pod.runtime_start", "from containerd's record of the sandbox to the main container started: what the runtime and kubelet between two calls take",
		"from CreatedAt of the sandbox's container in containerd to StartedAt in containerd's container status", always},
	{"pod.container_start", "from the main container created to started, in a sandbox that runs already",
		"from CreatedAt to StartedAt in containerd's container status", always},
	{"pod.ready", "from asking for the Pod to Ready in the API",
		"from sending the create request to the watch event with condition Ready (both labctl's clock; kubelet relists every second)", observedOnly},
	{"pod.run", "how long the main container ran; 0 if it ended before containerd noted its start",
		"from StartedAt to FinishedAt in containerd's container status", notObserved},
	{"pod.finished", "from asking for the Pod to its main container ended",
		"from sending the create request (labctl's clock) to FinishedAt in containerd's container status", notObserved},
	{"pod.deleted", "from asking for the Pod's deletion to its end",
		"from sending the delete request to the watch event DELETED (both labctl's clock)", always},
}

// lifeOutputs declares the outputs of the Pod's life.
func lifeOutputs(report, observed, repeated bool) []evidence.Output {
	out := []evidence.Output{
		{Name: "pod.phase", Type: evidence.String, Doc: "the Pod's phase"},
		{Name: "pod.reason", Type: evidence.String, Doc: "why it is so: Completed, Error, OOMKilled, StartError, CreateContainerError, FailedCreatePodSandBox, Running, …"},
		{Name: "pod.message", Type: evidence.String, Doc: "what kubelet or the runtime says about it; often empty"},
		{Name: "pod.class", Type: evidence.String, Doc: "the Pod's RuntimeClass"},
	}
	if !report {
		out = append(out, evidence.Output{Name: "pod.log", Type: evidence.String, Doc: "the end of the main container's log, at most 4 KiB; empty if it didn't start"})
	}
	if !observed {
		out = append(out, evidence.Output{Name: "pod.exit_code", Type: evidence.Int, Doc: "the main container's exit code"})
	}
	for _, s := range spans {
		if !s.when(observed) {
			continue
		}
		out = append(out, evidence.Output{Name: s.name, Type: evidence.Duration, Doc: s.doc})
		if repeated {
			for _, q := range quantiles {
				out = append(out, evidence.Output{Name: s.name + "." + q.name, Type: evidence.Duration, Doc: s.doc + "; " + q.doc})
			}
		}
	}
	return out
}

// times are the spans of one Pod by name; one that the Pod didn't get to is
// not in it.
type times map[string]time.Duration

// measure computes the times of one Pod. skew is what the node's clock is
// ahead of labctl's.
func measure(l *life, c containerTimes, skew time.Duration) times {
	t := times{}
	put := func(name string, from, to time.Time) {
		if !from.IsZero() && !to.IsZero() {
			t[name] = to.Sub(from)
		}
	}
	asked := l.asked
	if !asked.IsZero() {
		asked = asked.Add(skew)
	}
	put("pod.start", asked, c.started)
	put("pod.runtime_start", c.sandbox, c.started)
	put("pod.container_start", c.created, c.started)
	put("pod.ready", l.asked, l.ready)
	put("pod.run", c.started, later(c.started, c.finished))
	put("pod.finished", asked, c.finished)
	put("pod.deleted", l.deletion, l.gone)
	return t
}

func later(a, b time.Time) time.Time {
	if a.After(b) && !b.IsZero() {
		return a
	}
	return b
}

// clockSkew is what a remote clock is ahead of the local one, given one
// reading of it between two local ones. A reading that fits between them is
// the same clock (a node in a container) or can't be told from it.
func clockSkew(before, remote, after time.Time) time.Duration {
	if !remote.Before(before) && !remote.After(after) {
		return 0
	}
	return remote.Sub(before.Add(after.Sub(before) / 2))
}

type quantile struct {
	name, doc string
	of        func(sorted []time.Duration) time.Duration
}

var quantiles = []quantile{
	{"p50", "the median of all runs (nearest rank)", func(s []time.Duration) time.Duration { return s[(len(s)-1)/2] }},
	{"min", "the least of all runs", func(s []time.Duration) time.Duration { return s[0] }},
	{"max", "the most of all runs", func(s []time.Duration) time.Duration { return s[len(s)-1] }},
}

// timeValues gives the spans as evidence: those of the last Pod, and where
// there were several the quantiles over all.
func timeValues(observed bool, runs []times) evidence.Set {
	var set evidence.Set
	for _, s := range spans {
		if !s.when(observed) {
			continue
		}
		if d, ok := runs[len(runs)-1][s.name]; ok {
			set = append(set, evidence.Value{Name: s.name, Type: evidence.Duration, Value: d, Source: s.source()})
		}
		if len(runs) == 1 {
			continue
		}
		var all []time.Duration
		for _, r := range runs {
			if d, ok := r[s.name]; ok {
				all = append(all, d)
			}
		}
		// A quantile over some of the Pods would hide those that failed.
		if len(all) < len(runs) {
			continue
		}
		slices.Sort(all)
		for _, q := range quantiles {
			set = append(set, evidence.Value{Name: s.name + "." + q.name, Type: evidence.Duration, Value: q.of(all), Source: s.source()})
		}
	}
	return set
}
