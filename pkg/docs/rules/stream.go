package rules

import (
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var streamRules = []rule{
	{docs.Rule{
		ID: "missing-separator", Severity: docs.Error,
		Title: "several objects in one YAML document, without --- between them",
		Help:  "A YAML document is one object. Where apiVersion and kind come again, the keys of the earlier object are overwritten, and kubectl apply makes only the last object, with exit code 0 and no warning. Put a line with --- before each further object.",
	}, findMissingSeparator},
	{docs.Rule{
		ID: "duplicate-key", Severity: docs.Error,
		Title: "a key stands twice in one mapping",
		Help:  "Readers of YAML refuse the document, or keep the last value without a word, so what the first one says is lost. Join the two, or remove one.",
	}, findDuplicateKey},
	{docs.Rule{
		ID: "object-twice", Severity: docs.Warning,
		Title: "one example has the same object twice",
		Help:  "Objects of the same kind, namespace and name are one object: applied together, the later one replaces what the earlier one set, such as its labels. Join them, give them different names, or show alternatives in blocks of their own.",
	}, findObjectTwice},
}

func findMissingSeparator(p *page, s *sink) {
	p.documents(func(e *docs.Example, doc yamldoc.Doc) {
		parts := doc.Split()
		var lost []string
		for i, part := range parts {
			if i > 0 {
				if last := s.place(e, part.Line, 1, "a new object begins here without --- before it: %s would be lost, only the last of the %d objects is applied", list(lost), len(parts)); last != nil {
					last.Object = title(part)
				}
			}
			lost = append(lost, title(part))
		}
	})
}

func title(part yamldoc.Doc) string {
	o, _ := part.Object()
	return (&object{Object: o}).String()
}

func findDuplicateKey(p *page, s *sink) {
	p.documents(func(e *docs.Example, doc yamldoc.Doc) {
		for _, part := range doc.Split() {
			for _, d := range part.Duplicates {
				if strings.HasSuffix(d.Path, "<<") { // several merges
					continue
				}
				if last := s.place(e, d.Line, d.Column, "%s is already given on line %d; only one of the two values can count", quote(d.Path), e.At(d.FirstLine, 1).Line); last != nil {
					last.Field, last.Object = d.Path, title(part)
				}
			}
		}
	})
}

// documents calls do for each YAML document of the examples that are
// configuration.
func (p *page) documents(do func(*docs.Example, yamldoc.Doc)) {
	for i := range p.Examples {
		e := &p.Examples[i]
		if i >= len(p.parsed) {
			return
		}
		switch e.Class {
		case docs.Kubernetes, docs.Custom, docs.Config:
			for _, doc := range p.parsed[i] {
				do(e, doc)
			}
		}
	}
}

func findObjectTwice(p *page, s *sink) {
	type key struct {
		index                        int
		group, kind, namespace, name string
	}
	first := map[key]*object{}
	for _, o := range p.objects {
		k := key{o.index, o.group, o.Kind, o.Namespace, o.Name}
		switch before := first[k]; {
		case o.Name == "":
		case before == nil:
			first[k] = o
		default:
			line, _, _ := before.doc.Find(before.path)
			s.field(o, o.get("metadata", "name"), "%s stands on line %d already: applied together, this one replaces it", quote(o.String()), o.example.At(line, 1).Line)
		}
	}
}
