package extract

import (
	"bytes"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// markPrefix is what a comment with a mark begins with.
const markPrefix = "labctl:"

// comment is one that says something to labctl.
type comment struct {
	docs.Position
	// text is what follows "labctl:".
	text string
	// open tells that the comment isn't closed.
	open bool
}

// scan takes the comments of a block that begin with "labctl:". In a block of
// HTML every comment is one; in a paragraph those in code spans or after a
// backslash are none. Its time is linear in the block's length.
func (d *document) scan(n ast.Node) {
	opener, closer := []byte("<!--"), []byte("-->")
	if d.mdx {
		opener, closer = []byte("{/*"), []byte("*/}")
	}
	_, html := n.(*ast.HTMLBlock)
	in := newInlines(n, d.source.text)
	raw := in.raw
	if !bytes.Contains(raw, opener) {
		return
	}
	var spans codeSpans
	if !html {
		spans = newCodeSpans(raw)
	}
	for i := 0; i < len(raw); {
		switch {
		case !html && raw[i] == '\\':
			i += 2
		case !html && raw[i] == '`':
			i = spans.end(i)
		case bytes.HasPrefix(raw[i:], opener):
			inside := raw[i+len(opener):]
			end := bytes.Index(inside, closer)
			c := comment{open: end < 0}
			if c.open {
				end = len(inside)
			}
			about, ours := strings.CutPrefix(strings.TrimSpace(string(inside[:end])), markPrefix)
			if ours {
				c.text, c.Position = about, d.source.at(in.offset(i))
				d.comments = append(d.comments, c)
			}
			i += len(opener) + end + len(closer)
		default:
			i++
		}
	}
}

// inlines is the text of a block without the prefixes of its containers.
type inlines struct {
	raw []byte
	// segments are those of its lines in the source that weren't passed yet,
	// from the offset first of raw on.
	segments []text.Segment
	first    int
}

func newInlines(n ast.Node, source []byte) *inlines {
	lines := n.Lines()
	in := &inlines{segments: lines.Sliced(0, lines.Len())}
	if block, ok := n.(*ast.HTMLBlock); ok && block.HasClosure() {
		in.segments = append(in.segments[:lines.Len():lines.Len()], block.ClosureLine)
	}
	for _, segment := range in.segments {
		in.raw = append(in.raw, segment.Value(source)...)
	}
	return in
}

// offset gives the offset in the source of one in raw. They are asked for in
// order.
func (in *inlines) offset(i int) int {
	for {
		segment := in.segments[0]
		n := segment.Padding + segment.Len()
		if i < in.first+n || len(in.segments) == 1 {
			return segment.Start + max(i-in.first-segment.Padding, 0)
		}
		in.first += n
		in.segments = in.segments[1:]
	}
}

// codeSpans finds where code spans end.
type codeSpans struct {
	// after gives for the start of a run of backticks the end of the span that
	// it opens, or of the run itself if it opens none.
	after map[int]int
}

func newCodeSpans(raw []byte) codeSpans {
	type run struct{ start, end int }
	var runs []run
	for i := 0; i < len(raw); i++ {
		if raw[i] != '`' {
			continue
		}
		start := i
		for i < len(raw) && raw[i] == '`' {
			i++
		}
		runs = append(runs, run{start, i})
	}
	s := codeSpans{after: make(map[int]int, len(runs))}
	// From the last run to the first: the next run of the same length closes.
	next := map[int]int{}
	for i := len(runs) - 1; i >= 0; i-- {
		r := runs[i]
		n := r.end - r.start
		if end, ok := next[n]; ok {
			s.after[r.start] = end
		} else {
			s.after[r.start] = r.end
		}
		next[n] = r.end
	}
	return s
}

// end gives where to go on after the run of backticks at i.
func (s codeSpans) end(i int) int {
	if end, ok := s.after[i]; ok {
		return end
	}
	return i + 1 // the rest of a run whose first backtick is escaped
}
