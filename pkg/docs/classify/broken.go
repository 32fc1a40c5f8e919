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
// template for Helm, a Dockerfile.
func ofLines(text string, parsed []yamldoc.Doc) (verdict, bool) {
	if len(text) > maxLines {
		return verdict{}, false
	}
	broken := slices.ContainsFunc(parsed, func(d yamldoc.Doc) bool { return d.Err != nil })
	switch {
	case helm.MatchString(outsideBlocks(text, parsed)):
		return verdict{class: docs.Fragment, format: "helm-template"}, true
	case (broken || !slices.ContainsFunc(parsed, func(d yamldoc.Doc) bool { return isMapping(d.Node) || isList(d.Node) })) && isDockerfile(text):
		return verdict{class: docs.Config, format: "dockerfile"}, true
	}
	return verdict{}, false
}

// outsideBlocks is the text without its block scalars: what stands in them is
// the content of another file. A text that isn't YAML is left whole.
func outsideBlocks(text string, parsed []yamldoc.Doc) string {
	if !strings.Contains(text, "{{") {
		return ""
	}
	var plain []string
	var add func(*yaml.Node)
	add = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
			plain = append(plain, n.Value)
		}
		for _, c := range n.Content {
			add(c)
		}
	}
	for _, d := range parsed {
		if d.Node == nil {
			return text
		}
		add(d.Node)
	}
	// Actions in flow style are mappings of mappings to the parser: {{ x }}.
	return strings.Join(plain, "\n")
}

// ofBroken is a document that isn't YAML.
func ofBroken(text string, d yamldoc.Doc) verdict {
	lines := strings.SplitAfter(text, "\n")
	own := strings.Join(lines[min(d.Line-1, len(lines)):min(d.EndLine, len(lines))], "")
	if len(own) > maxLines {
		return verdict{class: docs.Prose}
	}
	// What the author left out, or a template's actions, are no mistakes.
	for _, left := range []string{elision.ReplaceAllString(own, ""), filled(own)} {
		if left == own {
			continue
		}
		if v := ofPart(left); v.class != docs.Prose {
			return verdict{class: docs.Fragment, format: v.format}
		}
	}
	if v, ok := ofTopKeys(own, d.Line); ok {
		return v
	}
	// What comes before the mistake may be enough.
	before := strings.Join(lines[min(d.Line-1, len(lines)):min(max(d.ErrLine, 1)-1, len(lines))], "")
	if v := ofPart(before); v.format != "" {
		return v
	}
	if dataLines(own) {
		return verdict{class: docs.Fragment}
	}
	return verdict{class: docs.Prose}
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
		v := ofDocument(text, d)
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
