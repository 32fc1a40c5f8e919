package formats

import (
	"slices"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var yamlInvalid = docs.Rule{
	ID: "yaml-invalid", Severity: docs.Error,
	Title: "a block of YAML doesn't parse",
	Help: "No program reads the document: a colon or a star in an unquoted value, a tab or a wrong indentation, quotes that don't end. " +
		"Blocks of prose and templates ({{ }}) are left out.",
}

var yamlFormat = format{
	name: "YAML", rules: []docs.Rule{yamlInvalid},
	is: func(t text) bool {
		return (t.Language == "yaml" || t.Language == "yml") && t.Class != docs.Prose && t.Class != docs.Code && t.Format != "dockerfile" &&
			slices.ContainsFunc(t.docs, broken)
	},
	check: func(t text) (found []docs.Finding) {
		if abridged(t.Text) {
			return nil
		}
		for _, d := range t.docs {
			if broken(d) {
				found = append(found, t.finding(yamlInvalid, d.ErrLine, d.ErrColumn, "the YAML doesn't parse: %v", d.Err))
			}
		}
		return found
	},
}

func broken(d yamldoc.Doc) bool { return d.Err != nil }
