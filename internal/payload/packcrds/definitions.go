package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	yamlstream "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// take reads the definitions of a module's files. What else the files hold is
// left; a pattern that gives none is an error.
func take(files fs.FS, m module) ([]entry, error) {
	var out []entry
	for _, pattern := range m.Files {
		names, err := fs.Glob(files, pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pattern, err)
		}
		before := len(out)
		for _, name := range names {
			content, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, err
			}
			found, err := entries(m, content)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			out = append(out, found...)
		}
		if len(out) == before {
			return nil, fmt.Errorf("no CustomResourceDefinition in %s", pattern)
		}
	}
	return out, nil
}

// entries are the definitions of a YAML stream, as the archive has them.
func entries(m module, content []byte) ([]entry, error) {
	found, err := definitions(content)
	if err != nil {
		return nil, err
	}
	var out []entry
	for _, d := range found {
		content, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{name: m.at() + "/" + nameOf(d) + ".json", content: content})
	}
	return out, nil
}

// definitions are the CustomResourceDefinitions of a YAML stream, stripped.
func definitions(content []byte) ([]map[string]any, error) {
	var out []map[string]any
	for r := yamlstream.NewYAMLReader(bufio.NewReader(bytes.NewReader(content))); ; {
		doc, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		var object map[string]any
		if err := yaml.Unmarshal(doc, &object); err != nil {
			return nil, err
		}
		if object["kind"] != "CustomResourceDefinition" {
			continue
		}
		if object["apiVersion"] != "apiextensions.k8s.io/v1" || nameOf(object) == "" {
			return nil, fmt.Errorf("a CustomResourceDefinition of %v named %q", object["apiVersion"], nameOf(object))
		}
		strip(object)
		out = append(out, object)
	}
}

func nameOf(object map[string]any) string {
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	return name
}

// approved says that a group below k8s.io may be used; the API server asks for
// it (k8s.io/apiextensions-apiserver, KubeAPIApprovedAnnotation).
const approved = "api-approved.kubernetes.io"

// strip takes out what isn't needed to judge an object: texts for people, and
// conversion by a webhook that nobody serves.
func strip(definition map[string]any) {
	metadata := map[string]any{"name": nameOf(definition)}
	if m, ok := definition["metadata"].(map[string]any); ok {
		if a, ok := m["annotations"].(map[string]any); ok && a[approved] != nil {
			metadata["annotations"] = map[string]any{approved: a[approved]}
		}
	}
	definition["metadata"] = metadata
	delete(definition, "status")
	spec, _ := definition["spec"].(map[string]any)
	delete(spec, "conversion")
	versions, _ := spec["versions"].([]any)
	for _, v := range versions {
		version, _ := v.(map[string]any)
		delete(version, "additionalPrinterColumns")
		if schema, ok := version["schema"].(map[string]any); ok {
			stripSchema(schema["openAPIV3Schema"])
		}
	}
}

// stripSchema deletes the descriptions of a schema and of all below it. It
// follows the keywords that hold schemas, because a property may be called
// "description" as well.
func stripSchema(schema any) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	delete(s, "description")
	delete(s, "example")
	delete(s, "externalDocs")
	for _, key := range []string{"items", "additionalProperties", "not"} {
		stripSchema(s[key])
	}
	for _, key := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := s[key].([]any)
		for _, e := range list {
			stripSchema(e)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for _, e := range properties {
		stripSchema(e)
	}
}
