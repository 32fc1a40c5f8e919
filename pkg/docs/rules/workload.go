package rules

// workload is an object that makes Pods, or a Pod.
type workload struct {
	*object
	// template has metadata and spec of the Pods: the object itself if it is a
	// Pod.
	template field
	pod      field // its spec
	labels   map[string]string
	// containers are all of the Pod, init containers first.
	containers []field
	// custom: not of a built-in API.
	custom bool
}

// templates says where the objects of built-in APIs have their Pod template.
var templates = map[string][]string{
	"/Pod":                   {},
	"/PodTemplate":           {"template"},
	"/ReplicationController": {"spec", "template"},
	"apps/Deployment":        {"spec", "template"},
	"apps/ReplicaSet":        {"spec", "template"},
	"apps/StatefulSet":       {"spec", "template"},
	"apps/DaemonSet":         {"spec", "template"},
	"batch/Job":              {"spec", "template"},
	"batch/CronJob":          {"spec", "jobTemplate", "spec", "template"},
}

// newWorkload gives nil for an object that makes no Pods. A custom resource
// makes them if it has a Pod template where most have it (Argo's Rollout,
// Knative's Service, OpenKruise's CloneSet).
func newWorkload(o *object) *workload {
	w := &workload{object: o}
	way, builtIn := templates[o.group+"/"+o.Kind]
	if !builtIn {
		w.custom, way = true, []string{"spec", "template"}
	}
	w.template = o.get(way...)
	w.pod = w.template.get("spec")
	if w.custom && w.pod.get("containers").empty() {
		return nil
	}
	w.labels, _ = w.template.get("metadata", "labels").labels()
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		w.containers = append(w.containers, w.pod.get(list).items()...)
	}
	return w
}

// running are the containers that run as long as the Pod: those that aren't
// init containers, and sidecars.
func (w *workload) running() []field {
	found := w.pod.get("containers").items()
	for _, c := range w.pod.get("initContainers").items() {
		if c.get("restartPolicy").text() == "Always" {
			found = append(found, c)
		}
	}
	return found
}

// replicas is spec.replicas with the default of the API.
func (w *workload) replicas() int {
	if n, ok := w.get("spec", "replicas").number(); ok {
		return n
	}
	return 1
}

// named finds workloads of a document by group, kind and name.
func (p *page) named(apiVersion, kind, name string, beside *object) []*workload {
	var found []*workload
	for _, w := range p.workloads {
		if w.Kind == kind && w.Name == name && (apiVersion == "" || w.APIVersion == apiVersion) && w.near(beside) {
			found = append(found, w)
		}
	}
	return found
}
