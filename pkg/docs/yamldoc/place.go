package yamldoc

import (
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// place turns the positions of all nodes, which the parser counts in
// characters and in the line breaks of YAML 1.1, into lines and bytes of the
// stream.
func place(root *yaml.Node, s segment) {
	p := newPlaces(s)
	walk(root, nil, func(n *yaml.Node, _ *step) {
		n.Line, n.Column = p.at(n.Line, n.Column)
	})
}

type places struct {
	segment
	parsed []int // offsets of the parser's lines
	lines  []int // offsets of lines
	// The last place that was asked for. Nodes come in the order of the text,
	// so a line with many of them is read once.
	line, column, offset int
}

func newPlaces(s segment) *places {
	p := &places{segment: s, line: -1}
	p.lines, p.parsed = []int{0}, []int{0}
	if strings.HasPrefix(s.text, "\ufeff") {
		p.parsed[0] = len("\ufeff") // which the parser doesn't count
	}
	for i := 0; i < len(s.text); i++ {
		switch rest := s.text[i:]; {
		case rest[0] == '\n':
			p.lines, p.parsed = append(p.lines, i+1), append(p.parsed, i+1)
		case rest[0] == '\r' && !strings.HasPrefix(rest, "\r\n"):
			p.parsed = append(p.parsed, i+1)
		case rest[0] == 0xc2 && strings.HasPrefix(rest, "\u0085"):
			p.parsed = append(p.parsed, i+2)
		case rest[0] == 0xe2 && (strings.HasPrefix(rest, "\u2028") || strings.HasPrefix(rest, "\u2029")):
			p.parsed = append(p.parsed, i+3)
		}
	}
	return p
}

func (p *places) at(line, column int) (int, int) {
	line = min(max(line, 1), len(p.parsed))
	if line != p.line || column < p.column {
		p.line, p.column, p.offset = line, 1, p.parsed[line-1]
	}
	for p.column < column && p.offset < len(p.text) {
		_, n := utf8.DecodeRuneInString(p.text[p.offset:])
		p.offset += n
		p.column++
	}
	return p.of(p.offset)
}

// of gives the place of an offset.
func (p *places) of(offset int) (line, column int) {
	i := sort.SearchInts(p.lines, offset+1) - 1
	return p.segment.line + i, offset - p.lines[i] + 1
}
