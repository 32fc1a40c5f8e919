// Command schemagen writes the JSON Schema of lab specs, which editors use,
// from the Go types and their comments.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/isolation-stack/labctl/pkg/lab"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: schemagen FILE (in the folder of package lab)")
		os.Exit(2)
	}
	b, err := generate()
	if err == nil {
		err = os.WriteFile(os.Args[1], b, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

// generate makes the schema; it reads comments in the current folder, which
// must be that of package lab.
func generate() ([]byte, error) {
	r := &jsonschema.Reflector{Mapper: special, ExpandedStruct: true, Anonymous: true}
	if err := r.AddGoComments("github.com/isolation-stack/labctl/pkg/lab", ".", jsonschema.WithFullComment()); err != nil {
		return nil, fmt.Errorf("reading comments: %w", err)
	}
	for key, text := range r.CommentMap {
		r.CommentMap[key] = strings.ReplaceAll(text, "\n", " ")
	}
	s := r.Reflect(&lab.Lab{})
	s.Title = "labctl lab"
	s.Properties.Set("apiVersion", &jsonschema.Schema{Type: "string", Const: lab.APIVersion})
	s.Properties.Set("kind", &jsonschema.Schema{Type: "string", Const: lab.Kind})
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// special gives the types that say more than their Go type.
func special(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[lab.Layer]():
		return enum(lab.Layers)
	case reflect.TypeFor[lab.Verdict]():
		return enum(lab.Verdicts)
	case reflect.TypeFor[json.RawMessage]():
		return &jsonschema.Schema{Type: "object"}
	}
	return nil
}

func enum[T ~string](values []T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}
