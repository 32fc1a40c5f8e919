package judge

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
	docschema "github.com/isolation-stack/labctl/pkg/docs/schema"
)

// Server is what an API server says of itself (client-go's discovery).
type Server struct {
	Version   string // "v1.37.2"
	Groups    []*metav1.APIGroup
	Resources []*metav1.APIResourceList
}

// NewBySchema makes a judge that asks no API server, but compares objects with
// the schemas of one. It doesn't see what validation, admission and missing
// objects would be; that a schema accepts an example says nothing about a mark
// that wants it to be rejected.
func NewBySchema(s Server, schemas *docschema.Schemas, sources map[string]string) (*Judge, error) {
	known, err := newCatalogue(s)
	if err != nil {
		return nil, err
	}
	return &Judge{Options: Options{Sources: sources}, catalogue: known, schemas: schemas, shapes: map[schema.GroupVersionKind]shape{}}, nil
}

// Define adds the kinds of a CustomResourceDefinition to a judge by schema. It
// mustn't run beside Document.
func (j *Judge) Define(definition *unstructured.Unstructured) error {
	if err := j.schemas.Define(definition.Object); err != nil {
		return fmt.Errorf("CustomResourceDefinition %s: %w", definition.GetName(), err)
	}
	for gvk, r := range defined(definition.Object) {
		r.made = false // it is there before any document
		j.catalogue.kinds[gvk] = r
		j.catalogue.versions[gvk.Group] = append(j.catalogue.versions[gvk.Group], gvk.Version)
		j.catalogue.custom[gvk.Group] = true
	}
	for gvk, s := range docschema.Versions(definition.Object) {
		j.shapes[gvk] = resourceShape{schemaShape(s)}
	}
	return nil
}

// compare says what the schema of its kind says of an object.
func (s *session) compare(ctx context.Context, o object) error {
	if o.printed != "" {
		s.output(o)
	}
	violations, known, err := s.schemas.Validate(o.gvk, o.manifest)
	if err != nil || !known {
		p := problem{rule: notJudged, field: "kind", message: fmt.Sprintf("there is no schema of %s; the object was not judged", o.gvk.Kind)}
		if err != nil {
			p.message = "the object was not judged: " + oneLine(err.Error())
		}
		s.report(o, p)
		return nil
	}
	shape, err := s.shapeOf(ctx, o.resource)
	if err != nil {
		return err
	}
	words := map[string]string{} // of the API's types, by field
	for _, p := range mistyped(goType(o.gvk), o.manifest) {
		words[p.field] = o.asWritten(p)
	}
	var found []problem
	for _, v := range violations {
		p := problem{rule: apiRejected, field: v.Field, message: v.Message}
		switch v.Kind {
		case docschema.UnknownField:
			p.rule, p.onKey = unknownField, true
			if says, _ := hint(shape, v.Field); says != "" {
				p.message += "; " + says
			}
		case docschema.MissingField:
			p.message = v.Field + ": " + required // a missing field, see distinct
		case docschema.WrongType:
			p.rule = wrongType
			if text := words[v.Field]; text != "" {
				p.message = text
			}
		}
		found = append(found, p)
	}
	for _, p := range distinct(found, o.manifest) {
		// API servers themselves set some of the fields that schemas of built-in
		// kinds require, or do without: serviceName of a StatefulSet.
		if p.rule == missingField && !s.catalogue.custom[o.gvk.Group] {
			p.severity = docs.Warning
		}
		s.refuse(o, p)
	}
	return s.follow(ctx, o)
}
