package rules

import (
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var referenceRules = []rule{
	{docs.Rule{
		ID: "reference-missing", Severity: docs.Note,
		Title: "a Pod needs an object that the document doesn't show",
		Help:  "A Pod waits in ContainerCreating or CreateContainerConfigError until the ConfigMap, Secret or PersistentVolumeClaim that it names exists. No example of the document defines it, and no command makes it. Show where it comes from, or set optional: true.",
	}, findReference},
	{docs.Rule{
		ID: "reference-key-missing", Severity: docs.Warning,
		Title: "a Pod takes a key that its ConfigMap or Secret doesn't have",
		Help:  "The document defines the object, but not with this key, so the container doesn't start (CreateContainerConfigError) or the volume isn't mounted. Keys are compared exactly.",
	}, findReferenceKey},
}

// need is where a Pod names an object of its namespace.
type need struct {
	kind string
	name field
	// keys are those that must be in the object.
	keys []field
}

// needs gives those of a workload that aren't optional.
func needs(w *workload) []need {
	var found []need
	add := func(kind string, from field, name string, keys ...field) {
		if optional, _ := from.get("optional").truth(); !optional && from.get(name).text() != "" {
			found = append(found, need{kind, from.get(name), keys})
		}
	}
	keysOf := func(from field) []field {
		var keys []field
		for _, item := range from.get("items").items() {
			keys = append(keys, item.get("key"))
		}
		return keys
	}
	for _, c := range w.containers {
		for _, from := range c.get("envFrom").items() {
			add("ConfigMap", from.get("configMapRef"), "name")
			add("Secret", from.get("secretRef"), "name")
		}
		for _, env := range c.get("env").items() {
			configMap, secret := env.get("valueFrom", "configMapKeyRef"), env.get("valueFrom", "secretKeyRef")
			add("ConfigMap", configMap, "name", configMap.get("key"))
			add("Secret", secret, "name", secret.get("key"))
		}
	}
	for _, v := range w.pod.get("volumes").items() {
		add("ConfigMap", v.get("configMap"), "name", keysOf(v.get("configMap"))...)
		add("Secret", v.get("secret"), "secretName", keysOf(v.get("secret"))...)
		add("PersistentVolumeClaim", v.get("persistentVolumeClaim"), "claimName")
		for _, source := range v.get("projected", "sources").items() {
			add("ConfigMap", source.get("configMap"), "name", keysOf(source.get("configMap"))...)
			add("Secret", source.get("secret"), "name", keysOf(source.get("secret"))...)
		}
	}
	for _, secret := range w.pod.get("imagePullSecrets").items() {
		add("Secret", secret, "name")
	}
	if w.custom { // of Kubernetes' own workloads the API server says it
		add("ServiceAccount", w.pod, "serviceAccountName")
	}
	return found
}

// always are objects that every cluster or namespace has.
var always = map[string]bool{"ConfigMap kube-root-ca.crt": true, "ServiceAccount default": true}

func findReference(p *page, s *sink) {
	known := p.made()
	for _, w := range p.workloads {
		said := map[string]bool{}
		for _, r := range needs(w) {
			name := r.name.text()
			id := r.kind + " " + name
			if known[name] || p.words[name] || always[id] || said[id] || open.MatchString(name) {
				continue
			}
			said[id] = true
			s.field(w.object, r.name, "%s %s is defined nowhere in the document", r.kind, quote(name))
		}
	}
}

// made are the names of all that the document's examples make: objects, the
// Secrets that controllers make for custom resources (cert-manager, External
// Secrets), and what Kustomize generates.
func (p *page) made() map[string]bool {
	names := map[string]bool{}
	for _, o := range p.objects {
		names[o.Name] = true
		if o.group != "" {
			names[o.get("spec", "secretName").text()] = true
			names[o.get("spec", "target", "name").text()] = true
			names[o.get("spec", "secretTemplate", "metadata", "name").text()] = true
		}
		if o.is("apps", "StatefulSet") {
			for _, claim := range o.get("spec", "volumeClaimTemplates").items() {
				names[claim.get("metadata", "name").text()] = true
			}
		}
	}
	for _, parsed := range p.parsed {
		for _, doc := range parsed {
			for _, generator := range []string{"configMapGenerator", "secretGenerator"} {
				if list := doc.Value(generator); list != nil {
					for i := range list.Content {
						if n := doc.Value(join(index(generator, i), "name")); n != nil {
							names[n.Value] = true
						}
					}
				}
			}
		}
	}
	return names
}

func findReferenceKey(p *page, s *sink) {
	type id struct{ kind, name string }
	defined := map[id][]*object{}
	for _, o := range p.objects {
		if o.group == "" && (o.Kind == "ConfigMap" || o.Kind == "Secret") && len(defined[id{o.Kind, o.Name}]) < maxCompared {
			defined[id{o.Kind, o.Name}] = append(defined[id{o.Kind, o.Name}], o)
		}
	}
	for _, w := range p.workloads {
		for _, r := range needs(w) {
			objects := defined[id{r.kind, r.name.text()}]
			for _, key := range r.keys {
				// An object without any key may be filled by a controller.
				lacks := func(o *object) bool {
					return w.near(o) && len(dataKeys(o)) > 0 && !slices.Contains(dataKeys(o), key.text())
				}
				if key.text() != "" && len(objects) > 0 && !slices.ContainsFunc(objects, func(o *object) bool { return !lacks(o) }) {
					s.field(w.object, key, "%s %s of the document has no key %s, only %s", r.kind, quote(r.name.text()), quote(key.text()), list(dataKeys(objects[0])))
				}
			}
		}
	}
}

// dataKeys are the keys of a ConfigMap or Secret.
func dataKeys(o *object) []string {
	return slices.Concat(o.get("data").keys(), o.get("stringData").keys(), o.get("binaryData").keys())
}
