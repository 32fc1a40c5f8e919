package yamldoc

import "strings"

// segment is the text of one document of a stream, with the line on which it
// starts there. Its own "---" and directives belong to it.
type segment struct {
	text string
	line int
}

// split cuts a stream at its document markers. A marker at the start of a line
// ends a document even inside a block scalar or quotes (YAML 1.2.2, 9.1.2).
func split(text string) []segment {
	var found []segment
	start, line := 0, 1 // of the current segment
	content := false    // the segment has its "---" or more than comments and directives
	cut := func(offset, next int) {
		if content {
			found = append(found, segment{text[start:offset], line})
		}
		start, line, content = offset, next, false
	}
	for offset, number := 0, 1; offset < len(text); number++ {
		end := len(text)
		if i := strings.IndexByte(text[offset:], '\n'); i >= 0 {
			end = offset + i + 1
		}
		switch l := strings.TrimPrefix(text[offset:end], "\ufeff"); {
		case marker(l, "---"):
			// Directives before the marker are of the document that it starts.
			if content {
				cut(offset, number)
			}
			content = true
		case marker(l, "..."):
			cut(end, number+1)
		case !blank(l) && (content || l[0] != '%'):
			content = true
		}
		offset = end
	}
	cut(len(text), 0)
	return found
}

func marker(line, mark string) bool {
	rest, ok := strings.CutPrefix(line, mark)
	return ok && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// blank says that a line has no content: it is empty or a comment.
func blank(line string) bool {
	line = strings.TrimLeft(line, " \t\r\n")
	return line == "" || line[0] == '#'
}

// extent gives the first and the last line of a segment that have content, 0
// if there are none.
func extent(s segment) (first, last int) {
	number := s.line
	for l := range strings.Lines(s.text) {
		l = strings.TrimPrefix(l, "\ufeff")
		if marker(l, "---") {
			l = l[len("---"):]
		}
		if !blank(l) && l[0] != '%' && !marker(l, "...") {
			if first == 0 {
				first = number
			}
			last = number
		}
		number++
	}
	return first, last
}
