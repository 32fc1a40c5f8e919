package yamldoc

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// maxSearch is the size of a text in bytes in which the place of a mistake is
// searched for by parsing parts of it.
const maxSearch = 64 << 10

var parserError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// locate finds where a text stops being YAML. The parser's errors name a line
// that may be the one where the mapping around the mistake starts, or one
// beside it, and no column. The mistake is at the end of the shortest part
// that the parser refuses with the same words.
func locate(s segment, err error) (line, column int, problem error) {
	message := words(err)
	problem = errors.New(message)
	p := newPlaces(s)
	switch {
	case len(s.text) > maxSearch:
		line, _ = p.at(reported(err), 1)
		return line, 0, problem
	case unclosed(message):
		// What was opened is the place to look at, not where the text ends. The
		// parser says it only of lines other than the first.
		_, again := decode("#\n#\n" + s.text)
		line, _ = p.at(reported(again)-2, 1)
		return line, p.indent(line), problem
	}
	low, high := 0, len(s.text) // a part of length low is read, or refused otherwise
	for high-low > 1 {
		middle := (low + high) / 2
		if _, err := decode(s.text[:middle]); err != nil && words(err) == message {
			high = middle
		} else {
			low = middle
		}
	}
	if character(message) {
		line, column = p.of(high - 1)
		return line, column, problem
	}
	line, _ = p.of(max(len(strings.TrimRight(s.text[:high], " \t\r\n"))-1, 0))
	return line, p.indent(line), problem
}

// indent gives the column of a line's first character that isn't blank.
func (p *places) indent(line int) int {
	text := p.text[p.lines[line-p.segment.line]:]
	return 1 + len(text) - len(strings.TrimLeft(text, " \t"))
}

// words are an error's without the library's name and the line.
func words(err error) string {
	if err == nil {
		return ""
	}
	return parserError.ReplaceAllString(err.Error(), "")
}

func reported(err error) int {
	if err != nil {
		if m := parserError.FindStringSubmatch(err.Error()); m != nil && m[1] != "" {
			if n, err := strconv.Atoi(m[1]); err == nil {
				return n
			}
		}
	}
	return 1
}

// unclosed says that the scanner came to the end of something that it began
// before: of quotes, or of a key that has no colon.
func unclosed(message string) bool {
	return strings.Contains(message, "unexpected end of stream") ||
		strings.Contains(message, "unexpected document indicator") ||
		strings.Contains(message, "could not find expected ':'")
}

// character says that one character is wrong, not a line.
func character(message string) bool {
	return strings.Contains(message, "mapping values are not allowed") ||
		strings.Contains(message, "character") || strings.Contains(message, "UTF-8")
}
