package rules

import (
	"slices"
)

// selector is one by labels; all requirements must hold.
type selector struct {
	labels      map[string]string
	expressions []field
	// known is false if it can't be read, or is missing.
	known bool
}

// plainSelector reads a map of labels (Service), labelSelector one with
// matchLabels and matchExpressions.
func plainSelector(f field) selector {
	labels, ok := f.labels()
	return selector{labels: labels, known: ok}
}

func labelSelector(f field) selector {
	if _, ok := f.value.(map[string]any); !ok {
		return selector{}
	}
	s := selector{known: true, expressions: f.get("matchExpressions").items()}
	if labels := f.get("matchLabels"); !labels.empty() {
		s.labels, s.known = labels.labels()
	}
	return s
}

// everything says that it selects all.
func (s selector) everything() bool { return s.known && len(s.labels) == 0 && len(s.expressions) == 0 }

// matches says whether labels fulfil a selector. It is k8s.io/apimachinery's
// labels.Selector for objects that may be wrong: an operator that doesn't
// exist matches.
func (s selector) matches(labels map[string]string) bool {
	for k, v := range s.labels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.expressions {
		value, has := labels[e.get("key").text()]
		in := slices.ContainsFunc(e.get("values").items(), func(f field) bool { return f.text() == value })
		switch e.get("operator").text() {
		case "In":
			if !has || !in {
				return false
			}
		case "NotIn":
			if has && in {
				return false
			}
		case "Exists":
			if !has {
				return false
			}
		case "DoesNotExist":
			if has {
				return false
			}
		}
	}
	return true
}

// selected gives the workloads of a document whose Pods a selector of an
// object matches.
func (p *page) selected(by *object, s selector) []*workload {
	var found []*workload
	for _, w := range p.workloads {
		if w.near(by) && s.matches(w.labels) {
			found = append(found, w)
		}
	}
	return found
}

// beside keeps the workloads of the object's own example, if there are any.
func beside(o *object, all []*workload) []*workload {
	var same []*workload
	for _, w := range all {
		if w.index == o.index {
			same = append(same, w)
		}
	}
	if len(same) > 0 {
		return same
	}
	return all
}
