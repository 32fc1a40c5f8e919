package extract

import (
	"sort"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// literal is the text of a word. What the shell would put in stands as "$".
func literal(w *syntax.Word) string {
	var b strings.Builder
	var add func(parts []syntax.WordPart)
	add = func(parts []syntax.WordPart) {
		for _, part := range parts {
			switch p := part.(type) {
			case *syntax.Lit:
				b.WriteString(p.Value)
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				add(p.Parts)
			default:
				b.WriteByte('$')
			}
		}
	}
	add(w.Parts)
	return b.String()
}

// quoted gives the text of a quoted word, such as that of echo, as a stream.
func (s *shell) quoted(w *syntax.Word) []*stream {
	if len(w.Parts) != 1 {
		return nil
	}
	double := false
	switch p := w.Parts[0].(type) {
	case *syntax.SglQuoted:
		if p.Dollar {
			return nil
		}
	case *syntax.DblQuoted:
		if double = true; p.Dollar {
			return nil
		}
	default:
		return nil
	}
	first, end := s.base+int(w.Pos().Offset())+1, s.base+int(w.End().Offset())-1
	q := &stream{origin: docs.Heredoc, text: s.script[first:end] + "\n"}
	line := sort.SearchInts(s.starts, first+1) - 1
	q.lines = append(q.lines, s.block.at(line, first-s.starts[line]))
	for range strings.Count(q.text, "\n") - 1 {
		line++
		q.lines = append(q.lines, s.block.at(line, 0))
	}
	if double {
		q.expand("$`\"\\")
	}
	s.found = append(s.found, q)
	return []*stream{q}
}
