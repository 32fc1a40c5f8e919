package extract

import (
	"bytes"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// source is the text of a document: valid UTF-8, no byte order mark, lines
// that end with "\n" or "\r\n".
type source struct {
	text []byte
	// starts are the offsets of the lines.
	starts []int
	// The last place asked for, because places are asked for in order and a
	// line may be long.
	line, offset, column int
}

var byteOrderMark = []byte("\xef\xbb\xbf")

// read makes a source from the bytes of a file.
func (d *document) read(data []byte) source {
	s := source{text: bytes.TrimPrefix(data, byteOrderMark)}
	invalid := -1
	if !utf8.Valid(s.text) {
		// One U+FFFD for a byte, so that columns stay.
		invalid = firstInvalid(s.text)
		s.text = []byte(string([]rune(string(s.text))))
	}
	if i := bytes.IndexByte(s.text, '\r'); i >= 0 {
		s.text = loneReturns(s.text)
	}
	s.starts = append(s.starts, 0)
	for i, c := range s.text {
		if c == '\n' && i+1 < len(s.text) {
			s.starts = append(s.starts, i+1)
		}
	}
	if invalid >= 0 {
		// Up to the first invalid byte nothing was replaced.
		message := fmt.Sprintf("The byte 0x%02x isn't UTF-8; save the document as UTF-8.", bytes.TrimPrefix(data, byteOrderMark)[invalid])
		if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			message = "The document is UTF-16; save it as UTF-8."
		}
		d.find(invalidUTF8, s.at(invalid), message)
	}
	s.blankFrontMatter()
	return s
}

func firstInvalid(text []byte) int {
	for i := 0; ; {
		r, n := utf8.DecodeRune(text[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
}

// loneReturns gives a copy whose carriage returns that no line feed follows
// are line feeds: both CommonMark and YAML end a line there.
func loneReturns(text []byte) []byte {
	text = bytes.Clone(text)
	for i, c := range text {
		if c == '\r' && (i+1 == len(text) || text[i+1] != '\n') {
			text[i] = '\n'
		}
	}
	return text
}

// at gives the position of an offset.
func (s *source) at(offset int) docs.Position {
	if offset < s.offset || s.column == 0 || s.line+1 < len(s.starts) && offset >= s.starts[s.line+1] {
		s.line = sort.SearchInts(s.starts, offset+1) - 1
		s.offset, s.column = s.starts[s.line], 1
	}
	s.column += utf8.RuneCount(s.text[s.offset:offset])
	s.offset = offset
	return docs.Position{Line: s.line + 1, Column: s.column}
}

// metadataKey is how the first line of metadata looks, so that the text between
// two thematic breaks isn't taken for it.
var metadataKey = regexp.MustCompile(`^["']?[\w.-]+["']?\s*[:=]`)

// blankFrontMatter overwrites metadata at the start of a document (YAML
// between "---" lines, TOML between "+++" lines) with blanks, so that offsets
// stay.
func (s *source) blankFrontMatter() {
	fence := s.trimmed(0)
	if fence != "---" && fence != "+++" {
		return
	}
	key := false
	for i := 1; i < len(s.starts); i++ {
		line := s.trimmed(i)
		if line == fence || fence == "---" && line == "..." {
			s.text = bytes.Clone(s.text)
			blank(s.text[:s.starts[i]+len(line)])
			return
		}
		if !key && !strings.HasPrefix(line, "#") {
			if key = metadataKey.MatchString(line); !key {
				return
			}
		}
	}
}

// trimmed is a line without what is blank at its end.
func (s *source) trimmed(line int) string {
	end := len(s.text)
	if line+1 < len(s.starts) {
		end = s.starts[line+1]
	}
	return string(bytes.TrimRight(s.text[s.starts[line]:end], " \t\r\n"))
}

func blank(text []byte) {
	for i, c := range text {
		if c != '\n' && c != '\r' {
			text[i] = ' '
		}
	}
}
