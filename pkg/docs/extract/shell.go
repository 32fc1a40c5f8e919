package extract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// shells are the languages whose blocks are read as commands.
var shells = map[string]bool{
	"bash": true, "sh": true, "shell": true, "zsh": true, "ksh": true, "dash": true, "shellscript": true,
	"console": true, "shell-session": true, "shellsession": true, "sh-session": true, "bash-session": true, "terminal": true,
}

// prompt is what stands before the commands of a block that also shows their
// output: "$ ", "user@host:~$ ", "[root@host ~]# ".
var prompt = regexp.MustCompile(`^\s*(?:\$|[❯➜%]|\[?[\w.-]+@[\w.-]+[^$#]{0,64}[$#])(?:\s+|$)`)

// heredocFirst is the first line of commands that begin with a here-document, as
// they are found in blocks of no language and of YAML.
var heredocFirst = regexp.MustCompile(`^[ \t]*(?:sudo|cat|tee|kubectl|oc|k3s)[ \t].*<<`)

// isShell tells whether an example is read as commands: by its language, or
// by how it begins.
func isShell(e docs.Example) bool {
	if shells[e.Language] {
		return true
	}
	if e.Language != "" && e.Language != "yaml" && e.Language != "yml" {
		return false
	}
	for line := range strings.Lines(e.Text) {
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		return e.Language == "" && strings.HasPrefix(line, "$ ") || heredocFirst.MatchString(line)
	}
	return false
}

// block is the text of a shell block, line by line.
type block struct {
	example docs.Example
	lines   []string
	// prompts tells that the block shows them, commands and their output.
	prompts bool
	// script has for each line what the shell parser gets: commands without
	// prompts (blanks instead, so that columns stay), nothing for output, bare
	// YAML and the text of here-documents.
	script   []string
	heredocs []heredoc
	unended  []unended
	bare     []*stream
}

// heredoc is a here-document, line that of its operator in the block, from 0.
type heredoc struct {
	operator
	*stream
	line int
}

// unended is an operator whose here-document doesn't end; almost is the line
// that looks as if it ended it, -1 if there is none.
type unended struct {
	operator
	line, almost int
}

// stream is a text inside a shell block that may be manifests.
type stream struct {
	origin docs.Origin
	text   string
	lines  []docs.Position
	// applied tells that a command of the document sends it to an API server;
	// target is the namespace that this command names.
	applied bool
	target  string
}

// newBlock splits a shell block into its parts.
func newBlock(e docs.Example) *block {
	b := &block{example: e, lines: strings.Split(strings.TrimSuffix(e.Text, "\n"), "\n")}
	b.script = make([]string, len(b.lines))
	var delimiters delimiters
	if strings.Contains(e.Text, "<<") {
		delimiters = newDelimiters(b.lines)
	}
	for _, line := range b.lines {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			b.prompts = prompt.MatchString(line)
			break
		}
	}
	command := false // the line before was one, and goes on here
	for i := 0; i < len(b.lines); i++ {
		line := b.lines[i]
		switch {
		case !b.prompts:
			if end := bareEnd(b.lines, i); end > i {
				b.bare = append(b.bare, b.stream(docs.Bare, i, end, nil))
				i = end - 1
				continue
			}
		case prompt.MatchString(line):
			n := len(prompt.FindString(line))
			line = strings.Repeat(" ", n) + line[n:]
			command = true
		case command && continued(line):
			line = " " + line[1:]
		case command && i > 0 && strings.HasSuffix(b.lines[i-1], `\`):
		default:
			command = false
			continue
		}
		b.script[i] = line
		i = b.skipHeredocs(i, line, delimiters)
	}
	return b
}

// continued tells whether a line begins with the shell's second prompt.
func continued(line string) bool { return line == ">" || strings.HasPrefix(line, "> ") }

// skipHeredocs takes the here-documents whose operators stand in a line, and
// gives the last line that belongs to them, or the line itself.
func (b *block) skipHeredocs(line int, command string, d delimiters) int {
	last := line
	for _, op := range operators(command) {
		first := last + 1
		second := b.prompts && first < len(b.lines) && continued(b.lines[first])
		end, ended := d.find(first, op, second)
		if !ended {
			b.unended = append(b.unended, unended{op, line, end})
		}
		if end < 0 {
			continue
		}
		h := heredoc{operator: op, line: line}
		h.stream = b.stream(docs.Heredoc, first, end, func(text string) int {
			n := 0
			if second && continued(text) {
				n = min(2, len(text))
			}
			if op.tabs {
				n = len(text) - len(strings.TrimLeft(text[n:], "\t"))
			}
			return n
		})
		if !op.quoted {
			h.expand("$`\\")
		}
		if end > first {
			b.heredocs = append(b.heredocs, h)
		}
		b.script[end] = op.delimiter
		last = end
	}
	return last
}

// stream takes lines of the block, without what strip gives of each.
func (b *block) stream(origin docs.Origin, first, end int, strip func(string) int) *stream {
	s := &stream{origin: origin}
	var text strings.Builder
	for i := first; i < end; i++ {
		line := b.lines[i]
		n := 0
		if strip != nil {
			n = strip(line)
		}
		text.WriteString(line[n:])
		text.WriteByte('\n')
		s.lines = append(s.lines, b.at(i, n))
	}
	s.text = text.String()
	return s
}

// at gives the place in the file of a line and an offset in it, both from 0.
func (b *block) at(line, offset int) docs.Position {
	at := b.example.Lines[line]
	at.Column += utf8.RuneCountInString(b.lines[line][:offset])
	return at
}

// streams adds the manifests inside shell blocks to the examples, each after
// its block: what a command sends to an API server, and what looks like a
// manifest.
func (d *document) streams() {
	sh := newShell()
	found := map[int][]*stream{}
	for i, e := range d.Examples {
		if !isShell(e) {
			continue
		}
		b := newBlock(e)
		d.unended(b)
		var limited bool
		if found[i], limited = sh.read(b); limited {
			d.findIn(&e, tooLarge, e.Position, fmt.Sprintf(
				"The block has more than %d bytes of commands, or the document too many of them; only manifests that stand in it by themselves are looked at.", maxScript))
		}
	}
	examples := d.Examples
	d.Examples = nil
	for i, e := range examples {
		d.add(e)
		slices.SortStableFunc(found[i], func(a, b *stream) int { return a.lines[0].Line - b.lines[0].Line })
		for _, s := range found[i] {
			if !s.applied && s.origin != docs.Bare && !looksLikeManifest(s.text) || strings.TrimSpace(s.text) == "" {
				continue
			}
			d.add(docs.Example{
				Position: s.lines[0], EndLine: s.lines[len(s.lines)-1].Line, Origin: s.origin, Language: "yaml",
				Heading: e.Heading, Text: s.text, Lines: s.lines, SHA256: docs.Sum(s.text), Target: s.target,
			})
		}
	}
}

// unended reports here-documents that don't end. Without a line that looks
// like the end, the operator may be something else, such as a placeholder, and
// only a delimiter in capitals tells that it isn't.
func (d *document) unended(b *block) {
	for _, u := range b.unended {
		if u.almost >= 0 {
			d.findIn(&b.example, unclosedHeredoc, b.at(u.almost, 0), fmt.Sprintf(
				"This line doesn't end the here-document <<%s of line %d: it has blanks around the delimiter.", cut(u.delimiter), b.at(u.line, 0).Line))
		} else if u.delimiter == strings.ToUpper(u.delimiter) {
			d.findIn(&b.example, unclosedHeredoc, b.at(u.line, u.column), fmt.Sprintf(
				"The here-document <<%s isn't ended by a line %s.", cut(u.delimiter), cut(u.delimiter)))
		}
	}
}
