package classify

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/isolation-stack/labctl/pkg/docs"
	"github.com/isolation-stack/labctl/pkg/docs/yamldoc"
)

// maxLines is the size in bytes of a text whose lines are looked at.
const maxLines = 256 << 10

var (
	// helm is an action of a Helm template; other programs' templates, whose
	// actions stand in strings, don't have these.
	helm = regexp.MustCompile(`\{\{-?\s*(?:[a-z]\w*\s+(?:"[^"]*"\s+)?)*\(?\s*(?:\.(?:Values|Release|Chart|Capabilities)\b|include\s+")`)
	// action is one of any template.
	action = regexp.MustCompile(`\{\{[^{}]*\}\}|\{%[^{}]*%\}`)
	// elision is a line that stands for lines that the author left out.
	elision = regexp.MustCompile(`(?m)^[ \t]*(?:- )?(?:\.\.\.|…|\[\.\.\.\]|\(\.\.\.\)|<[ \t]*snip[^>\n]*>)[ \t]*(?:#.*)?\n?`)
	// topKey is a key at the top of a mapping.
	topKey = regexp.MustCompile(`(?m)^(apiVersion|kind):[ \t]+["']?([A-Za-z][\w./-]*)["']?[ \t]*(?:#.*)?$`)
)

// ofLines is what the lines of a text say before anything is parsed: a
// template for Helm, or a file of another language.
func ofLines(text string, parsed []yamldoc.Doc) (verdict, bool) {
	if len(text) > maxLines {
		return verdict{}, false
	}
	if helm.MatchString(outsideBlocks(text, parsed)) {
		return verdict{class: docs.Fragment, format: "helm-template"}, true
	}
	if !slices.ContainsFunc(parsed, isData) {
		switch {
		case isDockerfile(text):
			return verdict{class: docs.Config, format: "dockerfile"}, true
		case containerdSection.MatchString(text):
			return verdict{class: docs.Config, format: "containerd"}, true
		}
	}
	return verdict{}, false
}

func isData(d yamldoc.Doc) bool { return isMapping(d.Node) || isList(d.Node) }

// outsideBlocks is the text without its block scalars: what stands in them is
// the content of another file. A text whose actions make it something else
// than YAML is left whole.
func outsideBlocks(text string, parsed []yamldoc.Doc) string {
	if !strings.Contains(text, "{{") {
		return ""
	}
	var plain []string
	for _, d := range parsed {
		if d.Node == nil || hasAction(d.Node) {
			return text
		}
		plain = scalars(d.Node, plain)
	}
	return strings.Join(plain, "\n")
}

// scalars adds the values of a node that aren't blocks.
func scalars(n *yaml.Node, found []string) []string {
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		found = append(found, n.Value)
	}
	for _, c := range n.Content {
		found = scalars(c, found)
	}
	return found
}

// hasAction says whether a template's action stands in a document outside of
// strings. To a parser {{ x }} is a mapping with a mapping as its key.
func hasAction(n *yaml.Node) bool {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Kind == yaml.MappingNode && c.Style&yaml.FlowStyle != 0 || hasAction(c) {
			return true
		}
	}
	return false
}

// ofBroken is a document that isn't YAML, of a stream of these lines.
func ofBroken(lines []string, d yamldoc.Doc) verdict {
	lines = lines[min(d.Line-1, len(lines)):min(d.EndLine, len(lines))]
	own := strings.Join(lines, "")
	if len(own) > maxLines {
		return verdict{class: docs.Prose}
	}
	if v, ok := ofFilled(own); ok {
		return v
	}
	if v, ok := ofTopKeys(own, d.Line); ok {
		return v
	}
	// What comes before the mistake may be enough, if it is of a format by more
	// than the names of fields.
	before := strings.Join(lines[:min(max(d.ErrLine-d.Line, 0), len(lines))], "")
	if v := ofPart(before); v.format != "" && v.format != "kubernetes" {
		return v
	}
	if dataLines(own) {
		return verdict{class: docs.Fragment}
	}
	return verdict{class: docs.Prose}
}

// ofFilled is a text in which the author left something out, or that a
// template's actions make: a part of what it would be with that.
func ofFilled(text string) (verdict, bool) {
	for _, left := range []string{elision.ReplaceAllString(text, ""), filled(text)} {
		if left == text {
			continue
		}
		if v := ofPart(left); v.class != docs.Prose {
			return verdict{class: docs.Fragment, format: v.format}, true
		}
	}
	return verdict{}, false
}

// filled replaces a template's actions: a line that has nothing else goes.
func filled(text string) string {
	if !action.MatchString(text) {
		return text
	}
	var b strings.Builder
	for l := range strings.Lines(text) {
		switch rest := action.ReplaceAllString(l, "x"); {
		case rest == l:
			b.WriteString(l)
		case strings.Trim(rest, "x \t\n") != "":
			b.WriteString(rest)
		}
	}
	return b.String()
}

// ofPart is the verdict on a text that is YAML, prose if it isn't.
func ofPart(text string) verdict {
	best := verdict{class: docs.Prose}
	for _, d := range yamldoc.Parse(text) {
		if d.Err != nil {
			return verdict{class: docs.Prose}
		}
		v := ofDocument(strings.SplitAfter(text, "\n"), d)
		if v.objects != nil {
			v.format = "kubernetes"
		}
		if rank(v.class) < rank(best.class) {
			best = v
		}
	}
	best.objects = nil
	return best
}

// ofTopKeys is a document whose lines have apiVersion and kind at the top:
// objects, broken as they are.
func ofTopKeys(text string, line int) (verdict, bool) {
	var objects []docs.Object
	var next docs.Object
	for _, m := range topKey.FindAllStringSubmatchIndex(text, -1) {
		key, value := text[m[2]:m[3]], text[m[4]:m[5]]
		if next.Line == 0 {
			next.Line, next.Column = line+strings.Count(text[:m[0]], "\n"), 1
		}
		if key == "kind" {
			next.Kind = value
		} else {
			next.APIVersion = value
		}
		if next.Kind != "" && next.APIVersion != "" {
			objects = append(objects, next)
			next = docs.Object{}
		}
	}
	best := verdict{class: docs.Prose}
	for _, o := range objects {
		if v := ofObject(o, &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "metadata"}, {Kind: yaml.MappingNode}}}); rank(v.class) < rank(best.class) {
			best = v
		}
	}
	if best.class != docs.Config {
		best.objects = objects
	}
	return best, len(objects) > 0
}

// abridged says whether a value stands for something that was left out: "...".
func abridged(n *yaml.Node) bool {
	if n.Kind == yaml.ScalarNode && n.Style == 0 {
		return n.Value == "..." || n.Value == "…"
	}
	return slices.ContainsFunc(n.Content, abridged)
}

var (
	instruction = regexp.MustCompile(`(?i)^(FROM|RUN|CMD|LABEL|EXPOSE|ENV|ADD|COPY|ENTRYPOINT|VOLUME|USER|WORKDIR|ARG|ONBUILD|STOPSIGNAL|HEALTHCHECK|SHELL|MAINTAINER)\s+\S`)
	dataLine    = regexp.MustCompile(`^(?:- )*["']?[A-Za-z_][\w.\-/]*["']?:(?:\s+(.*))?$|^(?:- )+(\S.*)$`)
)

// isDockerfile says whether a text starts with FROM, or with ARG and FROM, and
// goes on with instructions.
func isDockerfile(text string) bool {
	first, lines, continued := "", 0, false
	good := 0
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' {
			continue
		}
		if !continued {
			lines++
			if m := instruction.FindStringSubmatch(l); m != nil {
				good++
				if word := strings.ToUpper(m[1]); first == "" || first == "ARG" {
					first = word
				}
			} else if first == "" {
				return false
			}
		}
		continued = strings.HasSuffix(l, "\\")
	}
	return first == "FROM" && lines > 1 && 10*good >= 9*lines
}

// dataLines says whether a text that isn't YAML is meant as data: almost all
// of its lines are keys and values or items, and few are sentences.
func dataLines(text string) bool {
	lines, good := 0, 0
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l == "---" {
			continue
		}
		lines++
		if m := dataLine.FindStringSubmatch(l); m != nil && !sentence(m[1]) && !sentence(m[2]) && !strings.HasPrefix(m[2], "[ ]") && !strings.HasPrefix(m[2], "[x]") {
			good++
		}
	}
	return lines > 0 && 5*good >= 4*lines
}
