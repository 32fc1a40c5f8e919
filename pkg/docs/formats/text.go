package formats

import (
	"path"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/classify"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// text is something that a library can read: an example, or a scalar inside
// one (a file of a ConfigMap, a query, a policy), as an example of its own
// whose lines stand where they stand in the file.
type text struct {
	docs.Example
	docs []yamldoc.Doc
	path string
	// example is the one that the text stands in.
	example *docs.Example
	// object and field say where in it, as docs.Finding has them.
	object, field string
	// exact is false for scalars that are folded or have escapes, whose
	// columns aren't those of the file.
	exact bool
}

// texts are an example and the files in its ConfigMaps.
func texts(path string, e *docs.Example, parsed []yamldoc.Doc) []text {
	if e.Language == "json" && len(parsed) == 0 && len(e.Text) <= maxText {
		parsed = yamldoc.Parse(e.Text) // which JSON is, too
	}
	// Objects between which the "---" is missing are judged one by one.
	var parts []yamldoc.Doc
	for _, d := range parsed {
		parts = append(parts, d.Split()...)
	}
	parsed = parts
	whole := text{Example: *e, docs: parsed, path: path, example: e, exact: true}
	found := []text{whole}
	if len(e.Text) > maxText {
		return found // its files would be larger than what is judged, or very many
	}
	for _, d := range parsed {
		if o, ok := d.Object(); !ok || o.APIVersion != "v1" || o.Kind != "ConfigMap" {
			continue
		}
		for name, n := range entries(d.Value("data")) {
			if !isString(n) || !strings.Contains(n.Value, "\n") {
				continue // a value, no file
			}
			file := whole.scalar(d, n, "data["+name.Value+"]")
			file.Language = language(name.Value, n.Value)
			if file.Language == "yaml" || file.Language == "json" {
				file.docs = yamldoc.Parse(file.Text)
			}
			file.Class, file.Format = "", ""
			classify.Classify(&file.Example, file.docs)
			found = append(found, file)
		}
	}
	return found
}

// languages are those of files by the end of their names.
var languages = map[string]string{
	".rego": "rego", ".promql": "promql", ".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml",
}

// language is that of a file of a ConfigMap; one whose name doesn't tell is
// YAML if it looks like a mapping.
func language(name, content string) string {
	if l, ok := languages[path.Ext(name)]; ok {
		return l
	}
	if path.Ext(name) == "" && mapping.MatchString(content) {
		return "yaml"
	}
	return ""
}

var mapping = regexp.MustCompile(`^(?:[ \t]*(?:#[^\n]*)?\n)*[A-Za-z_][\w.-]*:(?:\s|$)`)

// scalar makes a text of a scalar of a document that stands in t.
func (t text) scalar(d yamldoc.Doc, n *yaml.Node, field string) text {
	s := t
	if o, ok := d.Object(); ok {
		s.object, s.field = objectName(o), field
	}
	s.docs = nil
	s.Text = n.Value
	if !strings.HasSuffix(s.Text, "\n") {
		s.Text += "\n"
	}
	s.Lines, s.exact = t.place(n, strings.Count(s.Text, "\n"))
	s.exact = s.exact && t.exact
	return s
}

// place gives for each of the lines of a scalar where it stands in the file;
// exact is false if its columns aren't those of the file.
func (t text) place(n *yaml.Node, lines int) (at []docs.Position, exact bool) {
	source := t.lines()
	switch {
	case n == nil || n.Line < 1 || n.Line > len(source):
		return nil, false
	case n.Style&yaml.LiteralStyle != 0:
		indent := indentation(source[n.Line-1], source[n.Line:], n)
		for i := range lines {
			at = append(at, t.At(n.Line+1+i, indent+1))
		}
		return at, true
	case lines == 1 && n.Style&yaml.FoldedStyle == 0:
		column := n.Column
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			column++
		}
		rest := source[n.Line-1]
		rest = rest[min(column-1, len(rest)):]
		return []docs.Position{t.At(n.Line, column)}, strings.HasPrefix(rest, n.Value)
	}
	for range lines {
		at = append(at, t.At(n.Line, n.Column))
	}
	return at, false
}

var explicit = regexp.MustCompile(`[|][+-]?([1-9])[+-]?\s*(?:#.*)?$`)

// indentation is how many columns a block scalar is indented: as its header
// says, or as its first line with content is. A header of "|2" counts from the
// mapping around, so the text itself, which keeps what is above that, tells.
func indentation(header string, rest []string, n *yaml.Node) int {
	for i, line := range rest {
		content := strings.TrimLeft(line, " ")
		if content == "" {
			continue
		}
		indent := len(line) - len(content)
		if explicit.MatchString(strings.TrimRight(header, "\r")) {
			lines := strings.Split(n.Value, "\n")
			if i < len(lines) {
				indent = max(indent-(len(lines[i])-len(strings.TrimLeft(lines[i], " "))), 0)
			}
		}
		return indent
	}
	return 0
}

func (t text) lines() []string {
	return strings.Split(t.Text, "\n")
}

func objectName(o docs.Object) string {
	name := o.Kind
	if o.Namespace != "" {
		return name + " " + o.Namespace + "/" + o.Name
	}
	return strings.TrimSpace(name + " " + o.Name)
}

// oneLine is a library's message as a sentence of one line, not longer than a
// reader takes.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	const most = 400
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return s
}

var (
	ellipsis    = regexp.MustCompile(`(?m)^[ \t]*(?:(?:#|//|--)[ \t]*)?(?:\.\.\.|…|<[ \t]*snip[^>\n]*>)`)
	placeholder = regexp.MustCompile(`<[A-Za-z][\w |-]*>|\[OPTIONS?\]`)
	// dots stand for something in a line, except those of Go's ./... patterns.
	dots     = regexp.MustCompile(`(?:^|[^/.\w])\.\.\.|…`)
	inQuotes = regexp.MustCompile("\"(?:[^\"\\\\\n]|\\\\.)*\"|'(?:[^'\\\\\n]|\\\\.)*'|`[^`]*`")
)

// template says that a text is one for another program, which fills it in
// first: Helm, Go, Jinja, Grafana.
func template(s string) bool {
	return strings.Contains(s, "{{") || strings.Contains(s, "{%")
}

// abridged says that the author left something out or names a thing that the
// reader has to fill in, so what a parser says of it is no mistake.
func abridged(s string) bool {
	return ellipsis.MatchString(s) || placeholder.MatchString(s) || template(s) || dots.MatchString(inQuotes.ReplaceAllString(s, `""`))
}
