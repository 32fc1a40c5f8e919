// Package schema checks objects by the OpenAPI schemas of an API server, in
// this process: unknown fields, types, what is required, enumerations and
// patterns. It finds all such mistakes of an object at once and where they
// stand; semantics and admission are the API server's own.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/openapi"

	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// Schemas are those of an API server. A group's are read and a kind's compiled
// when an object asks for them first. It may be used from many goroutines.
type Schemas struct {
	mu     sync.Mutex
	paths  map[string]openapi.GroupVersion
	groups map[schema.GroupVersion]*group
	// defined are the schemas of custom resources, by name.
	defined map[schema.GroupVersion]map[string]any
}

// group is the schemas of a group and version.
type group struct {
	// definitions is a JSON schema document: {"definitions": {NAME: …}}.
	definitions map[string]any
	names       map[string]string // of kinds
	compiler    *jsonschema.Compiler
	compiled    map[string]*jsonschema.Schema // of kinds; nil if there is none
}

// New takes the schemas from a server's OpenAPI v3 documents
// (client-go's discovery.OpenAPIV3). It asks which there are.
func New(client openapi.Client) (*Schemas, error) {
	paths, err := client.Paths()
	if err != nil {
		return nil, fmt.Errorf("the API server's schemas: %w", err)
	}
	return &Schemas{paths: paths, groups: map[schema.GroupVersion]*group{}, defined: map[schema.GroupVersion]map[string]any{}}, nil
}

// Check compares a document with the schema of its kind. Known is false if the
// server has none. The error is one of the server or of its schema.
func (s *Schemas) Check(d yamldoc.Doc) (violations []Violation, known bool, err error) {
	o, ok := d.Object()
	if !ok {
		return nil, false, nil
	}
	gv, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return nil, false, nil // such a group isn't served by anyone
	}
	compiled, err := s.compiled(gv.WithKind(o.Kind))
	if err != nil || compiled == nil {
		return nil, false, err
	}
	object, err := value(d)
	if err != nil {
		return nil, true, err
	}
	return located(d, violationsOf(object, compiled.Validate(object))), true, nil
}

// Validate compares an object, as encoding/json decodes it, with the schema of
// a kind. Fields that are null are taken out of it. The violations have no
// lines.
func (s *Schemas) Validate(kind schema.GroupVersionKind, object map[string]any) (violations []Violation, known bool, err error) {
	compiled, err := s.compiled(kind)
	if err != nil || compiled == nil {
		return nil, false, err
	}
	return violationsOf(object, compiled.Validate(withoutNull(object))), true, nil
}

// Document is the JSON schema of a kind (draft 4) with all that it refers to;
// nil if the server has none.
func (s *Schemas) Document(kind schema.GroupVersionKind) (map[string]any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(kind.GroupVersion())
	if err != nil || g == nil || g.names[kind.Kind] == "" {
		return nil, err
	}
	return map[string]any{
		"$schema": draft, "$ref": "#/definitions/" + g.names[kind.Kind], "definitions": g.definitions["definitions"],
	}, nil
}

func (s *Schemas) compiled(kind schema.GroupVersionKind) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(kind.GroupVersion())
	if err != nil || g == nil || g.names[kind.Kind] == "" {
		return nil, err
	}
	if c, ok := g.compiled[kind.Kind]; ok {
		return c, nil
	}
	c, err := g.compiler.Compile(location + "#/definitions/" + g.names[kind.Kind])
	if err != nil {
		return nil, fmt.Errorf("the API server's schema of %s: %w", kind, err)
	}
	g.compiled[kind.Kind] = c
	return c, nil
}

const (
	// draft is that whose keywords OpenAPI 3.0 has.
	draft = "http://json-schema.org/draft-04/schema#"
	// location names a group's document; nothing is read from there.
	location = "openapi.json"
)

// group reads the schemas of a group and version, nil if the server has none.
func (s *Schemas) group(gv schema.GroupVersion) (*group, error) {
	if g, ok := s.groups[gv]; ok {
		return g, nil
	}
	if own := s.defined[gv]; own != nil {
		g, err := compile(own, gv)
		s.groups[gv] = g
		return g, err
	}
	path := "apis/" + gv.String()
	if gv.Group == "" {
		path = "api/" + gv.Version
	}
	p, ok := s.paths[path]
	if !ok {
		return nil, nil
	}
	content, err := p.Schema("application/json")
	if err != nil {
		return nil, fmt.Errorf("the API server's schemas of %s: %w", gv, err)
	}
	g, err := read(content, gv)
	if err != nil {
		return nil, fmt.Errorf("the API server's schemas of %s: %w", gv, err)
	}
	s.groups[gv] = g
	return g, nil
}

// read turns an OpenAPI v3 document into JSON schemas.
func read(content []byte, gv schema.GroupVersion) (*group, error) {
	var openAPI struct {
		Components struct {
			Schemas map[string]any `json:"schemas"`
		} `json:"components"`
	}
	// The library compares numbers exactly, as json.Number.
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&openAPI); err != nil {
		return nil, err
	}
	return compile(openAPI.Components.Schemas, gv)
}

// compile turns OpenAPI schemas, which refer to each other, into JSON schemas.
func compile(schemas map[string]any, gv schema.GroupVersion) (*group, error) {
	g := &group{names: map[string]string{}, compiled: map[string]*jsonschema.Schema{}, compiler: jsonschema.NewCompiler()}
	for name, s := range schemas {
		for _, k := range kinds(s) {
			if k.GroupVersion() == gv {
				g.names[k.Kind] = name
			}
		}
		strict(s)
	}
	g.definitions = map[string]any{"$schema": draft, "definitions": schemas}
	g.compiler.DefaultDraft(jsonschema.Draft4)
	return g, g.compiler.AddResource(location, g.definitions)
}

// kinds are those whose schema it is.
func kinds(s any) []schema.GroupVersionKind {
	m, _ := s.(map[string]any)
	list, _ := m["x-kubernetes-group-version-kind"].([]any)
	var out []schema.GroupVersionKind
	for _, e := range list {
		m, _ := e.(map[string]any)
		group, _ := m["group"].(string)
		version, _ := m["version"].(string)
		kind, _ := m["kind"].(string)
		out = append(out, schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	}
	return out
}

// openAPIPrefix is where OpenAPI documents keep what they refer to.
const openAPIPrefix = "#/components/schemas/"

// strict makes a JSON schema of an OpenAPI schema, in place and again without
// effect: fields that it
// doesn't name are refused, as an API server does under strict field
// validation. Formats are left to the server: Kubernetes has others of the
// same names.
func strict(s any) {
	m, ok := s.(map[string]any)
	if !ok {
		return
	}
	for _, key := range []string{"description", "default", "example", "externalDocs", "format"} {
		delete(m, key)
	}
	if ref, ok := m["$ref"].(string); ok {
		if name, ok := strings.CutPrefix(ref, openAPIPrefix); ok {
			m["$ref"] = "#/definitions/" + name
		}
	}
	properties, named := m["properties"].(map[string]any)
	if _, open := m["additionalProperties"]; named && !open && m["x-kubernetes-preserve-unknown-fields"] != true {
		m["additionalProperties"] = false
	}
	if m["x-kubernetes-embedded-resource"] == true && named {
		for _, implied := range []string{"apiVersion", "kind", "metadata"} {
			if properties[implied] == nil {
				properties[implied] = map[string]any{}
			}
		}
	}
	notRequired(m, properties)
	for _, p := range properties {
		strict(p)
	}
	for _, key := range []string{"items", "additionalProperties"} {
		strict(m[key])
	}
	// Only a reference is structure there; the others compare values.
	if list, ok := m["allOf"].([]any); ok {
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && m["$ref"] != nil {
				strict(m)
			}
		}
	}
}

// notRequired lets what may be null be left out: value leaves nulls out.
func notRequired(m, properties map[string]any) {
	required, ok := m["required"].([]any)
	if !ok {
		return
	}
	var rest []any
	for _, name := range required {
		name, _ := name.(string)
		if p, ok := properties[name].(map[string]any); ok && p["nullable"] == true {
			continue
		}
		rest = append(rest, name)
	}
	if m["required"] = rest; len(rest) == 0 {
		delete(m, "required") // draft 4 wants at least one
	}
}
