package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

var placeholderRules = []rule{
	{docs.Rule{
		ID: "unresolved-placeholder", Severity: docs.Note,
		Title: "a placeholder stands where a value must be",
		Help:  "The example can't be applied before the reader has replaced <name>, YOUR_NAME, CHANGEME or \"...\" by a value of their own. A value that works makes the example one that can be tried, and tested; where there is none, say so with <!-- labctl: skip reason=\"…\" -->.",
	}, findPlaceholder},
	{docs.Rule{
		ID: "unexpanded-variable", Severity: docs.Warning,
		Title: "a shell variable that nothing expands",
		Help:  "Neither kubectl nor the API server knows ${NAME}, and a shell expands nothing in a here-document whose delimiter is quoted (<<'EOF'), so the object gets the text as it is. Write <<EOF, pipe the file through envsubst, or give the value. Kubernetes itself expands $(NAME), in command, args and env alone.",
	}, findVariable},
	{docs.Rule{
		ID: "template-not-rendered", Severity: docs.Note,
		Title: "the example is a template, not an object",
		Help:  "With {{ }} of Helm, Go or Jinja in its fields the example is no object until something renders it, so it can't be judged. Show the rendered object, or mark the example with <!-- labctl: skip reason=\"a Helm template\" -->.",
	}, findTemplate},
}

var (
	// <name>, <your-image:tag>: a word, or several, in angle brackets.
	angle = regexp.MustCompile(`<[\p{L}][\p{L}\p{N} _./:-]*[\p{L}\p{N}]>`)
	// ${NAME}; bare $NAME only in here-documents, where a shell was meant to
	// replace it.
	braces = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)
	dollar = regexp.MustCompile(`\$(?:\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_][A-Za-z0-9_]*)`)
	// Words that say that they are to be replaced.
	capitals = regexp.MustCompile(`(?:^|[^A-Za-z0-9])(YOUR[_-][A-Z0-9_-]+|REPLACE[_-]?(?:ME|WITH[A-Z0-9_-]*)|CHANGE[_-]?ME|changeme|FIXME|TODO|[xX]{3,})(?:$|[^A-Za-z0-9])`)
	dots     = regexp.MustCompile(`^(?:\.\.\.|…)$`)
	// The body of a PEM block.
	pem = regexp.MustCompile(`-----BEGIN [A-Z ]+-----\s*(\.\.\.|…)\s*-----END`)
)

// free are fields whose value is the author's own: text for people, scripts,
// files, templates of other programs.
var free = map[string]bool{
	"annotations": true, "data": true, "stringData": true, "binaryData": true, "description": true,
	"message": true, "command": true, "args": true, "script": true, "source": true, "rego": true,
	"expr": true, "summary": true, "status": true, "parameters": true, "example": true, "pattern": true, "default": true, "x-kubernetes-validations": true,
}

func findPlaceholder(p *page, s *sink) {
	for _, o := range p.objects {
		if template(o) != "" {
			continue
		}
		o.strings(func(f field) {
			value := f.text()
			if m := pem.FindStringSubmatch(value); m != nil {
				s.field(o, f, "the PEM block has %s in place of its content, so nothing can be verified with it", quote(m[1]))
			} else if found := placeholder(value); found != "" {
				s.field(o, f, "%s is a placeholder; the example can't be applied until it is replaced", quote(found))
			}
		})
	}
}

func findVariable(p *page, s *sink) {
	// Programs that fill in such variables.
	substituted := slices.ContainsFunc([]string{"envsubst", "sed", "flux", "kustomize", "yq", "clusterctl"}, func(w string) bool { return p.words[w] })
	for _, o := range p.objects {
		_, builtIn := builtInGroups[o.group]
		inHeredoc := o.example.Origin == docs.Heredoc
		quoted := inHeredoc && p.quotedHeredoc(o.example)
		o.strings(func(f field) {
			switch value := f.text(); {
			case strings.Contains(value, "\n") || placeholder(value) != "":
			case quoted && dollar.MatchString(value):
				s.field(o, f, "%s stays as it is: the here-document's delimiter is quoted, so the shell doesn't expand it", quote(dollar.FindString(value)))
			case builtIn && !substituted && !inHeredoc && braces.MatchString(value):
				s.field(o, f, "%s stays as it is: neither kubectl nor the API server expands it", quote(braces.FindString(value)))
			}
		})
	}
}

// placeholder gives the placeholder in a value, "" if there is none.
func placeholder(value string) string {
	if strings.Contains(value, "\n") {
		return ""
	}
	if dots.MatchString(value) {
		return value
	}
	if m := capitals.FindStringSubmatch(value); m != nil && !strings.Contains(value, " ") {
		return m[1]
	}
	// What has a closing tag is markup; a sentence or a command has words
	// around the brackets.
	found := angle.FindString(value)
	if found == "" || strings.Contains(value, "</") || strings.Contains(strings.Replace(value, found, "", 1), " ") {
		return ""
	}
	return found
}

// strings calls do for the strings of an object that a program reads.
func (o *object) strings(do func(field)) {
	var walk func(field)
	walk = func(f field) {
		switch f.value.(type) {
		case string:
			do(f)
		case map[string]any:
			for _, k := range f.keys() {
				if !free[k] {
					walk(f.get(k))
				}
			}
		case []any:
			for _, item := range f.items() {
				walk(item)
			}
		}
	}
	walk(o.field)
}

// quotedHeredoc says whether the delimiter of a here-document is quoted, so
// that the shell expands nothing in it.
func (p *page) quotedHeredoc(stream *docs.Example) bool {
	for i := range p.Examples {
		e := &p.Examples[i]
		if e == stream || e.Line >= stream.Line || e.EndLine < stream.Line || len(e.Lines) == 0 {
			continue
		}
		lines := strings.Split(e.Text, "\n")
		for j, at := range e.Lines {
			if at.Line == stream.Line-1 && j < len(lines) {
				return quotedDelimiter.MatchString(lines[j])
			}
		}
	}
	return false
}

var quotedDelimiter = regexp.MustCompile(`<<-?\s*(?:'|"|\\)`)

// template gives the first field that isn't rendered, "" if there is none. For
// custom resources {{ }} is ordinary: Argo, Kyverno, External Secrets and many
// more have templates of their own.
func template(o *object) string {
	if _, builtIn := builtInGroups[o.group]; !builtIn {
		return ""
	}
	path := ""
	o.strings(func(f field) {
		if path == "" && strings.Contains(f.text(), "{{") {
			path = f.path
		}
	})
	return path
}

func findTemplate(p *page, s *sink) {
	done := map[int]bool{}
	for _, o := range p.objects {
		if path := template(o); path != "" && !done[o.index] {
			done[o.index] = true
			line, column, _ := o.doc.Find(path)
			s.object(o, path, line, column, "{{ }} isn't rendered here: as it stands the example is a template, not an object")
		}
	}
	for i := range p.Examples {
		e := &p.Examples[i]
		if i >= len(p.parsed) || done[i] || e.Class == docs.Code || e.Class == docs.Prose {
			continue
		}
		// Only what looks like an object, and is no YAML because of {{.
		broken := slices.ContainsFunc(p.parsed[i], func(doc yamldoc.Doc) bool { return doc.Err != nil })
		if !broken || !objectLike.MatchString(e.Text) {
			continue
		}
		if line := helmLine(e.Text); line > 0 {
			s.place(e, line, 0, "{{ }} isn't rendered here: as it stands the example is a template, not an object")
		}
	}
}

var objectLike = regexp.MustCompile(`(?m)^kind: *\S`)

// helmLine is the first line with an action that makes the text no YAML: one
// that stands where a key or a bare value must.
func helmLine(text string) int {
	number := 0
	for line := range strings.Lines(text) {
		number++
		if helmAction.MatchString(line) {
			return number
		}
	}
	return 0
}

var helmAction = regexp.MustCompile(`(^\s*|:\s+)\{\{-?\s*[\w.$(/"]`)
