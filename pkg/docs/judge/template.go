package judge

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var pods = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}

// templateField gives where a kind of workload has its Pod template. The API
// server accepts a workload whose Pods it refuses: a RuntimeClass that isn't
// there, a Pod Security level.
func templateField(gvk schema.GroupVersionKind) []string {
	switch gvk.GroupKind().String() {
	case "Deployment.apps", "ReplicaSet.apps", "StatefulSet.apps", "DaemonSet.apps", "Job.batch", "ReplicationController":
		return []string{"spec", "template"}
	case "CronJob.batch":
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return nil
}

// queueTemplate notes the Pod of an accepted workload. It is judged when all
// of the document is there, since a workload waits for what its Pods need.
func (s *session) queueTemplate(o object) {
	way := templateField(o.gvk)
	template, ok := get(o.manifest, way...).(map[string]any)
	if way == nil || !ok || o.resource.made {
		return
	}
	pod, _ := clone(template).(map[string]any)
	delete(pod, "apiVersion")
	meta, _ := pod["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
	}
	delete(meta, "name")
	delete(meta, "namespace")
	meta["generateName"] = "pod-"
	pod["apiVersion"], pod["kind"], pod["metadata"] = "v1", "Pod", meta
	addClaims(pod, o.manifest)
	t := o
	t.manifest, t.resource, t.template = pod, s.catalogue.kinds[pods], true
	field := ""
	for _, name := range way {
		field = join(field, name)
	}
	t.prefix = o.below(field)
	s.templates = append(s.templates, t)
}

// addClaims gives a StatefulSet's Pod the volumes of its claims.
func addClaims(pod, owner map[string]any) {
	claims, _ := get(owner, "spec", "volumeClaimTemplates").([]any)
	spec, ok := pod["spec"].(map[string]any)
	if !ok {
		return
	}
	volumes, _ := spec["volumes"].([]any)
	for _, c := range claims {
		name := text(c, "metadata", "name")
		volumes = append(volumes, map[string]any{"name": name, "persistentVolumeClaim": map[string]any{"claimName": name}})
	}
	if volumes != nil {
		spec["volumes"] = volumes
	}
}
