package schema

import (
	"bytes"
	"encoding/json"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// metaPrefix is that of the names of what all objects share.
const metaPrefix = "io.k8s.apimachinery.pkg.apis.meta.v1."

// Versions are the schemas of the versions that a CustomResourceDefinition
// serves.
func Versions(definition map[string]any) map[schema.GroupVersionKind]map[string]any {
	kind := schema.GroupVersionKind{}
	kind.Group, _, _ = unstructured.NestedString(definition, "spec", "group")
	kind.Kind, _, _ = unstructured.NestedString(definition, "spec", "names", "kind")
	list, _, _ := unstructured.NestedFieldNoCopy(definition, "spec", "versions")
	versions, _ := list.([]any)
	out := map[schema.GroupVersionKind]map[string]any{}
	for _, v := range versions {
		v, _ := v.(map[string]any)
		if kind.Version, _ = v["name"].(string); v["served"] == true {
			published, _, _ := unstructured.NestedFieldNoCopy(v, "schema", "openAPIV3Schema")
			out[kind], _ = published.(map[string]any)
		}
	}
	return out
}

// Define adds the schemas of a CustomResourceDefinition, as an API server
// publishes them (k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder).
func (s *Schemas) Define(definition map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	core, err := s.group(schema.GroupVersion{Version: "v1"})
	if err != nil {
		return err
	}
	for kind, published := range Versions(definition) {
		// Numbers as in the API server's documents.
		content, err := json.Marshal(published)
		if err != nil {
			return err
		}
		decoder := json.NewDecoder(bytes.NewReader(content))
		decoder.UseNumber()
		var own map[string]any
		if err := decoder.Decode(&own); err != nil {
			return err
		}
		if own == nil {
			own = map[string]any{} // a version without a schema
		}
		properties, _ := own["properties"].(map[string]any)
		if properties == nil {
			properties = map[string]any{}
		}
		properties["apiVersion"], properties["kind"] = map[string]any{"type": "string"}, map[string]any{"type": "string"}
		properties["metadata"] = map[string]any{"$ref": openAPIPrefix + metaPrefix + "ObjectMeta"}
		own["properties"] = properties
		own["x-kubernetes-group-version-kind"] = []any{map[string]any{"group": kind.Group, "version": kind.Version, "kind": kind.Kind}}
		gv := kind.GroupVersion()
		if s.defined[gv] == nil {
			s.defined[gv] = map[string]any{}
			if core != nil {
				all, _ := core.definitions["definitions"].(map[string]any)
				for name, d := range all {
					if strings.HasPrefix(name, metaPrefix) {
						s.defined[gv][name] = d
					}
				}
			}
		}
		s.defined[gv][kind.Kind] = own
		delete(s.groups, gv) // it has one kind more now
	}
	return nil
}
