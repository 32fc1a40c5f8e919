package extract

import (
	"regexp"
	"sort"
	"strings"
)

// operator is a here-document's: << or <<-, and the delimiter.
type operator struct {
	// column of the operator in its line, from 0.
	column    int
	delimiter string
	tabs      bool // <<-: tabs at the start of lines don't count
	quoted    bool // the text isn't expanded
}

var operatorPattern = regexp.MustCompile(`^<<(-?)[ \t]*(?:'([^']+)'|"([^"]+)"|(\\?[A-Za-z_!][\w.+!-]*))`)

// operators gives those of a line of commands, in order.
func operators(line string) []operator {
	if !strings.Contains(line, "<<") {
		return nil
	}
	var found []operator
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\':
			i++
		case c == '\'' || c == '"':
			if end := strings.IndexByte(line[i+1:], c); end >= 0 {
				i += end + 1
			}
		case c == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return found
		case strings.HasPrefix(line[i:], "(("): // arithmetic, in which << shifts
			end := strings.Index(line[i:], "))")
			if end < 0 {
				return found
			}
			i += end + 1
		case strings.HasPrefix(line[i:], "<<<"):
			i += 2
		case strings.HasPrefix(line[i:], "<<"):
			m := operatorPattern.FindStringSubmatch(line[i:])
			if m == nil || strings.HasPrefix(line[i+len(m[0]):], ">") { // <<placeholder>>
				i++
				continue
			}
			word := m[2] + m[3] + strings.TrimPrefix(m[4], `\`)
			found = append(found, operator{column: i, delimiter: word, tabs: m[1] == "-", quoted: word != m[4]})
			i += len(m[0]) - 1
		}
	}
	return found
}

// delimiters finds the ends of here-documents without reading on from each: it
// has the lines, in order, for each text of a line; of a line without tabs
// before it; of one after the shell's second prompt; and of one without any
// blanks around it, which the shell doesn't take for the end.
type delimiters struct{ exact, tabs, second, trimmed map[string][]int }

func newDelimiters(lines []string) delimiters {
	d := delimiters{map[string][]int{}, map[string][]int{}, map[string][]int{}, map[string][]int{}}
	for i, line := range lines {
		d.exact[line] = append(d.exact[line], i)
		text := strings.TrimLeft(line, "\t")
		d.tabs[text] = append(d.tabs[text], i)
		if text, ok := strings.CutPrefix(line, "> "); ok {
			d.second[text] = append(d.second[text], i)
		}
		text = strings.TrimSpace(line)
		d.trimmed[text] = append(d.trimmed[text], i)
	}
	return d
}

// find gives the first line from one on that ends a here-document, else the
// first that looks like it, or -1.
func (d delimiters) find(from int, op operator, second bool) (line int, ended bool) {
	lines := d.exact
	switch {
	case second:
		lines = d.second
	case op.tabs:
		lines = d.tabs
	}
	if line = next(lines[op.delimiter], from); line >= 0 {
		return line, true
	}
	return next(d.trimmed[op.delimiter], from), false
}

func next(lines []int, from int) int {
	if i := sort.SearchInts(lines, from); i < len(lines) {
		return lines[i]
	}
	return -1
}

// expand makes of a text that the shell expands what is known of its value: a
// backslash goes away before one of the characters given, and joins lines at
// their end. Variables and commands stay as they are written.
func (s *stream) expand(escaped string) {
	if !strings.Contains(s.text, `\`) {
		return
	}
	var b strings.Builder
	lines := s.lines[:0:0]
	next := 0 // the line that starts
	start := true
	for i := 0; i < len(s.text); i++ {
		if start {
			lines = append(lines, s.lines[next])
			start = false
		}
		c := s.text[i]
		if c == '\\' && i+1 < len(s.text) {
			i++
			switch after := s.text[i]; {
			case after == '\n':
				next++
				continue
			case strings.IndexByte(escaped, after) >= 0:
				c = after
			default:
				i--
			}
		}
		b.WriteByte(c)
		if c == '\n' {
			next++
			start = true
		}
	}
	s.text, s.lines = b.String(), lines
}
