package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
)

const (
	// explainLimit is for what an error wants to add, also when ctx is over.
	explainLimit = 2 * time.Second
	// described is how many objects and how many events an error tells of.
	described = 5
)

// explain says how a target's objects looked and what the namespace's last
// warnings were, for the error of a condition that wasn't met.
func (w *world) explain(ctx context.Context, t Target, namespace string, items []map[string]any) string {
	var out []string
	for _, o := range items[:min(len(items), described)] {
		out = append(out, describe(o))
	}
	switch {
	case len(items) == 0:
		out = append(out, "there is no "+strings.TrimPrefix(t.String(), "every "))
	case len(items) > described:
		out = append(out, fmt.Sprintf("and %d more", len(items)-described))
	}
	if namespace == "" {
		namespace = w.namespace
	}
	return strings.Join(append(out, w.warnings(ctx, namespace)...), "\n  ")
}

// describe is an object's phase, conditions and what keeps its containers.
func describe(o map[string]any) string {
	u := unstructured.Unstructured{Object: o}
	out := []string{u.GetKind() + " " + u.GetName() + ":"}
	if phase, ok, _ := unstructured.NestedString(o, "status", "phase"); ok { // one that isn't text isn't said
		out = append(out, "phase "+phase)
	}
	for _, c := range listed(o, "status", "conditions") {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%v=%v %v %v", c["type"], c["status"], orEmpty(c["reason"]), orEmpty(c["message"]))))
	}
	for _, list := range []string{"initContainerStatuses", "containerStatuses"} {
		for _, c := range listed(o, "status", list) {
			out = append(out, fmt.Sprintf("container %v: %v, restarts %v", c["name"], c["state"], c["restartCount"]))
		}
	}
	if len(out) == 1 {
		out = append(out, fmt.Sprintf("status %.500s", fmt.Sprint(o["status"])))
	}
	return strings.Join(out, "\n    ")
}

func listed(o map[string]any, path ...string) []map[string]any {
	list, _, _ := unstructured.NestedSlice(o, path...) // another shape has nothing to say
	var out []map[string]any
	for _, item := range list {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func orEmpty(v any) any {
	if v == nil {
		return ""
	}
	return v
}

// warnings are the last Warning events of a namespace, the latest first.
func (w *world) warnings(ctx context.Context, namespace string) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainLimit)
	defer cancel()
	list, err := w.kube.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("type", corev1.EventTypeWarning).String(),
	})
	if err != nil {
		return []string{fmt.Sprintf("its events can't be read: %v", err)}
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return when(b).Compare(when(a)) })
	var out []string
	for _, e := range list.Items[:min(len(list.Items), described)] {
		out = append(out, fmt.Sprintf("warning %s of %s %s: %.500s", e.Reason, e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Message))
	}
	return out
}

func when(e corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
