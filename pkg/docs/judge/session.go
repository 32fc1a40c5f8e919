package judge

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// maxObjects is how many objects of one document are judged, at a few
// milliseconds each.
const maxObjects = 5000

// session judges one document.
type session struct {
	*Judge
	d        docs.Document
	objects  [][]object // of each example
	count    int
	findings []docs.Finding
	done     []bool // examples
	// made is what was created, by place.
	made map[string]creation
	// kinds are those of the CRDs that the document creates.
	kinds map[schema.GroupVersionKind]resource
	// shapes are those of custom resources that were asked for.
	shapes map[schema.GroupVersionKind]shape
	// reported are missing dependencies that a finding names.
	reported map[string]bool
	// sent and refused say that an object of the example that is judged was
	// sent to the API server, or was refused.
	sent, refused bool
	// templates are Pods to be, judged when all of the document is there.
	templates []object
}

// creation is an object that is there.
type creation struct {
	manifest map[string]any
	example  int // -1: labctl's own
	line     int
}

// object is a manifest in a document.
type object struct {
	origin
	index    int // of the example
	manifest map[string]any
	gvk      schema.GroupVersionKind
	// named is the namespace that the object names, given the one of a mark or
	// a command.
	name, named, given string
	// resource and namespace are known when the object's kind is.
	resource  resource
	namespace string
	// printed is the field that shows that it is output of an API server.
	printed string
	// template says that it is a Pod to be, made from another object.
	template bool
}

// String is "Kind namespace/name".
func (o object) String() string {
	name := o.name
	if name == "" {
		name = text(o.manifest, "metadata", "generateName")
	}
	if o.named != "" {
		name = o.named + "/" + name
	}
	return strings.TrimSpace(o.gvk.Kind + " " + name)
}

func newSession(j *Judge, d docs.Document, parsed [][]yamldoc.Doc) *session {
	s := &session{
		Judge: j, d: d, objects: make([][]object, len(d.Examples)), done: make([]bool, len(d.Examples)),
		made: map[string]creation{}, kinds: map[schema.GroupVersionKind]resource{}, reported: map[string]bool{},
		shapes: map[schema.GroupVersionKind]shape{},
	}
	maps.Copy(s.shapes, j.shapes)
	for i := range d.Examples {
		e := &d.Examples[i]
		if i >= len(parsed) || e.Class != docs.Kubernetes && e.Class != docs.Custom {
			continue
		}
		for _, doc := range parsed[i] {
			for _, part := range doc.Split() {
				s.take(i, origin{path: d.Path, example: e, doc: part})
			}
		}
	}
	return s
}

// take adds the object, or the objects of a list, that a YAML document holds.
func (s *session) take(i int, at origin) {
	if _, ok := at.doc.Object(); !ok || s.count > maxObjects {
		return
	}
	data, err := at.doc.JSON()
	var manifest map[string]any
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		err = decoder.Decode(&manifest)
	}
	if err != nil {
		s.report(object{origin: at}, problem{rule: notJudged, message: "the object can't be sent as JSON: " + oneLine(err.Error())})
		return
	}
	items, list := manifest["items"].([]any)
	if !list || !strings.HasSuffix(text(manifest, "kind"), "List") {
		s.add(i, at, manifest)
		return
	}
	for n, item := range items {
		m, ok := item.(map[string]any)
		if !ok || text(m, "apiVersion") == "" || text(m, "kind") == "" {
			continue
		}
		below := at
		below.prefix = "items" + index(n)
		s.add(i, below, m)
	}
}

func (s *session) add(i int, at origin, manifest map[string]any) {
	s.count++
	if s.count > maxObjects {
		if s.count == maxObjects+1 {
			s.report(object{origin: at}, problem{rule: notJudged, message: "the document has more than " +
				strconv.Itoa(maxObjects) + " objects; this one and those after it were not judged"})
		}
		return
	}
	o := object{
		origin: at, index: i, manifest: manifest, name: text(manifest, "metadata", "name"),
		named: text(manifest, "metadata", "namespace"), given: s.mark(i, "namespace"),
	}
	o.gvk.Kind = text(manifest, "kind")
	o.given = cmp.Or(o.given, at.example.Target)
	s.objects[i] = append(s.objects[i], o)
}

// mark gives the value of an example's mark.
func (s *session) mark(example int, key string) string {
	for _, m := range s.d.Marks {
		if m.Example == example && m.Key == key {
			return m.Value
		}
	}
	return ""
}

func (s *session) run(ctx context.Context) error {
	for i := range s.objects {
		if err := s.example(ctx, i); err != nil {
			return err
		}
	}
	for _, t := range s.templates {
		if err := s.judge(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// example judges the objects of an example, after those of the example that
// a mark names.
func (s *session) example(ctx context.Context, i int) error {
	if s.done[i] || len(s.objects[i]) == 0 {
		return nil
	}
	s.done[i] = true
	for _, m := range s.d.Marks {
		if m.Example != i || m.Key != "after" {
			continue
		}
		before, ok := s.exampleAt(m.Value)
		if !ok {
			s.findings = append(s.findings, docs.Finding{
				Rule: unknownTarget, Severity: severities[unknownTarget], Path: s.d.Path, Position: m.Position,
				Message: fmt.Sprintf("no example with objects is at %q", m.Value),
				Example: s.d.Examples[i].Line, SHA256: s.d.Examples[i].SHA256,
			})
			continue
		}
		if err := s.example(ctx, before); err != nil {
			return err
		}
	}
	expected := s.mark(i, "expect") == "rejected"
	first, templates := len(s.findings), len(s.templates)
	s.sent, s.refused = false, false
	for _, o := range s.objects[i] {
		if err := s.judge(ctx, o); err != nil {
			return err
		}
	}
	if !expected {
		return nil
	}
	// Pods to be count as well: what the example shows may be that they are
	// refused.
	for _, t := range s.templates[templates:] {
		if err := s.judge(ctx, t); err != nil {
			return err
		}
	}
	s.templates = s.templates[:templates]
	if s.refused {
		s.findings = notes(s.findings, first)
		return nil
	}
	if !s.sent {
		return nil
	}
	s.findings = append(s.findings, docs.Finding{
		Rule: expectedRejection, Severity: severities[expectedRejection], Path: s.d.Path, Position: s.d.Examples[i].Position,
		Message: "a mark says that the API server rejects this example, but it accepted all of its objects",
		Example: s.d.Examples[i].Line, SHA256: s.d.Examples[i].SHA256,
	})
	return nil
}

// notes leaves out what is worse than a note, from the first finding on.
func notes(all []docs.Finding, first int) []docs.Finding {
	kept := all[:first]
	for _, f := range all[first:] {
		if f.Severity == docs.Note {
			kept = append(kept, f)
		}
	}
	return kept
}

// follows says that a mark puts an example after another one, so that the two
// aren't alternatives.
func (s *session) follows(example, before int) bool {
	for _, m := range s.d.Marks {
		if m.Example == example && m.Key == "after" {
			if i, ok := s.exampleAt(m.Value); ok && i == before {
				return true
			}
		}
	}
	return false
}

// exampleAt gives the example at a line, or with a hash that starts like this.
func (s *session) exampleAt(target string) (int, bool) {
	line, err := strconv.Atoi(target)
	for i, e := range s.d.Examples {
		if len(s.objects[i]) == 0 {
			continue
		}
		if err == nil && e.Line <= line && line <= e.EndLine || len(target) >= 6 && strings.HasPrefix(e.SHA256, target) {
			return i, true
		}
	}
	return 0, false
}

// report adds a problem as a finding.
func (s *session) report(o object, p problem) {
	f := o.finding(p, o.String())
	if o.printed != "" && f.Severity == docs.Error {
		f.Severity = docs.Warning
	}
	s.findings = append(s.findings, f)
}

// later gives the line on which the document has an object that isn't there
// yet, and whether that is in the same example; 0 if it has none.
func (s *session) later(d dependency, o object) (line int, same bool) {
	for i := range s.objects {
		for _, other := range s.objects[i] {
			if other.gvk.Kind != d.kind || other.name != d.name {
				continue
			}
			if ns := cmp.Or(other.named, other.given, "default"); d.namespace != "" && ns != d.namespace {
				continue
			}
			line, column, _ := other.place(problem{field: "kind"})
			return other.example.At(line, column).Line, i == o.index
		}
	}
	return 0, false
}
