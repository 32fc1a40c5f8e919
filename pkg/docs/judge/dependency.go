package judge

import (
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dependency is an object that another one needs to be accepted.
type dependency struct {
	kind, namespace, name string
	// field of the object that names it.
	field string
}

// The words of the admission plug-ins RuntimeClass, Priority and
// ServiceAccount of kube-apiserver (plugin/pkg/admission), which have no
// details in their answers.
var admissionNeeds = []struct {
	words *regexp.Regexp
	kind  string
	field string
}{
	{regexp.MustCompile(`RuntimeClass "([^"]+)" not found`), "RuntimeClass", "spec.runtimeClassName"},
	{regexp.MustCompile(`no PriorityClass with name (\S+) was found`), "PriorityClass", "spec.priorityClassName"},
	{regexp.MustCompile(`error looking up service account ([^/]*/\S+): `), "ServiceAccount", "spec.serviceAccountName"},
}

// dependencyOf reads from a refusal that something isn't there.
func dependencyOf(s metav1.Status) (dependency, bool) {
	if s.Reason == metav1.StatusReasonNotFound && s.Details != nil && s.Details.Kind == "namespaces" {
		return dependency{kind: "Namespace", name: s.Details.Name, field: "metadata.namespace"}, true
	}
	if s.Reason != metav1.StatusReasonForbidden {
		return dependency{}, false
	}
	for _, n := range admissionNeeds {
		if m := n.words.FindStringSubmatch(s.Message); m != nil {
			d := dependency{kind: n.kind, name: m[1], field: n.field}
			if namespace, name, ok := strings.Cut(m[1], "/"); ok {
				d.namespace, d.name = namespace, name
			}
			return d, true
		}
	}
	return dependency{}, false
}

// stand-in that labctl creates for a dependency.
func (d dependency) standIn() map[string]any {
	meta := map[string]any{"name": d.name}
	switch d.kind {
	case "Namespace":
		return map[string]any{"apiVersion": "v1", "kind": d.kind, "metadata": meta}
	case "ServiceAccount":
		meta["namespace"] = d.namespace
		return map[string]any{"apiVersion": "v1", "kind": d.kind, "metadata": meta}
	case "RuntimeClass":
		return map[string]any{"apiVersion": "node.k8s.io/v1", "kind": d.kind, "metadata": meta,
			// A handler's name is a DNS label, while that of a class may have dots.
			"handler": strings.ReplaceAll(d.name, ".", "-")}
	case "PriorityClass":
		return map[string]any{"apiVersion": "scheduling.k8s.io/v1", "kind": d.kind, "metadata": meta, "value": 1000}
	}
	return nil
}

// String names the dependency for people: "RuntimeClass gvisor".
func (d dependency) String() string {
	if d.namespace != "" {
		return d.kind + " " + d.namespace + "/" + d.name
	}
	return d.kind + " " + d.name
}
