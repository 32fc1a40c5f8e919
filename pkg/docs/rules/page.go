package rules

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// maxCompared is how many objects of a document are compared with each other:
// rules about pairs take no more time than its square.
const maxCompared = 1000

// page is a document as the rules see it.
type page struct {
	docs.Document
	parsed [][]yamldoc.Doc
	// objects of all examples in order; those of a List are objects too.
	objects []*object
	// workloads are the objects that make Pods, no more than maxCompared.
	workloads []*workload
	// words are those of all shell examples; built those of their commands
	// that make or move images.
	words, built map[string]bool
	lines        map[int][]string // of examples, by index
}

// linesOf are those of an object's example.
func (p *page) linesOf(o *object) []string {
	if p.lines[o.index] == nil {
		p.lines[o.index] = strings.Split(o.example.Text, "\n")
	}
	return p.lines[o.index]
}

// object is one Kubernetes object of an example.
type object struct {
	field       // the whole object; its path is "" but for the items of a List
	docs.Object // Namespace is the command's (-n) if the object has none
	group       string
	example     *docs.Example
	index       int // of the example
	doc         yamldoc.Doc
}

// String is "Kind namespace/name".
func (o *object) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return strings.TrimSpace(o.Kind + " " + name)
}

// is compares group and kind.
func (o *object) is(group, kind string) bool { return o.group == group && o.Kind == kind }

// near says whether two objects can be in one namespace: a namespace that the
// document doesn't give can be any.
func (o *object) near(other *object) bool {
	return o.Namespace == other.Namespace || o.Namespace == "" || other.Namespace == ""
}

func newPage(d docs.Document, parsed [][]yamldoc.Doc) *page {
	p := &page{Document: d, parsed: parsed, words: map[string]bool{}, built: map[string]bool{}, lines: map[int][]string{}}
	for i := range d.Examples {
		e := &d.Examples[i]
		if shell(e) {
			p.read(e.Text)
		}
		if i >= len(parsed) || e.Class == docs.Prose || e.Class == docs.Code {
			continue
		}
		for _, doc := range parsed[i] {
			for _, part := range doc.Split() {
				p.add(e, i, part)
			}
		}
	}
	for _, o := range p.objects {
		if w := newWorkload(o); w != nil && len(p.workloads) < maxCompared {
			p.workloads = append(p.workloads, w)
		}
	}
	return p
}

func (p *page) add(e *docs.Example, index int, doc yamldoc.Doc) {
	if _, ok := doc.Object(); !ok {
		return
	}
	text, err := doc.JSON()
	if err != nil {
		return
	}
	var root any
	if json.Unmarshal(text, &root) != nil {
		return
	}
	p.addField(field{"", root}, &object{example: e, index: index, doc: doc})
}

func (p *page) addField(f field, o *object) {
	o.field = f
	o.APIVersion, o.Kind = f.get("apiVersion").text(), f.get("kind").text()
	o.Name, o.Namespace = f.get("metadata", "name").text(), f.get("metadata", "namespace").text()
	if o.Namespace == "" {
		o.Namespace = o.example.Target
	}
	if group, _, ok := strings.Cut(o.APIVersion, "/"); ok {
		o.group = group
	}
	if f.path == "" && o.is("", "List") {
		for _, item := range f.get("items").items() {
			p.addField(item, &object{example: o.example, index: o.index, doc: o.doc})
		}
		return
	}
	p.objects = append(p.objects, o)
}

// of gives the objects of a kind, no more than maxCompared.
func (p *page) of(group, kind string) []*object {
	var found []*object
	for _, o := range p.objects {
		if o.is(group, kind) && len(found) < maxCompared {
			found = append(found, o)
		}
	}
	return found
}

// shell says whether an example is commands.
func shell(e *docs.Example) bool {
	switch e.Language {
	case "bash", "sh", "shell", "zsh", "console", "shell-session", "shellsession", "terminal", "powershell", "cmd", "makefile", "dockerfile":
		return true
	}
	return false
}

// read takes the words of commands: whole, and in the parts that =, / and
// commas make of them.
func (p *page) read(text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		words := strings.FieldsFunc(line, func(r rune) bool {
			return unicode.IsSpace(r) || strings.ContainsRune("'\"`();|&<>", r)
		})
		building := false
		for _, w := range words {
			switch w {
			case "build", "tag", "push", "load", "import", "commit", "-t", "docker-image", "ko", "pack":
				building = true
			}
			p.words[w] = true
			for _, part := range strings.FieldsFunc(w, func(r rune) bool { return r == '=' || r == '/' || r == ',' }) {
				p.words[part] = true
			}
			_, value, _ := strings.Cut(w, "=")
			p.words[value] = true
			if building {
				p.built[w], p.built[value] = true, true
			}
		}
	}
}
