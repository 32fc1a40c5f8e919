package extract

import (
	"regexp"
	"strings"
)

var (
	// manifestStart is the first line of YAML that stands by itself between
	// commands.
	manifestStart = regexp.MustCompile(`^(?:apiVersion|kind):(?:[ \t]|$)`)
	// manifestLine is a line at the margin that goes on with it.
	manifestLine = regexp.MustCompile(`^(?:["']?[A-Za-z_][\w./-]*["']?:(?:[ \t]|$)|-(?:[ \t]|$)|---|\.\.\.|[}\]])`)
)

// bareEnd gives the line after the YAML that stands by itself at a line; the
// line itself if none does. It begins a paragraph (after a blank line or a
// comment) and ends before the first command, or before the next manifest.
func bareEnd(lines []string, first int) int {
	if !manifestStart.MatchString(lines[first]) || first > 0 && !isGap(lines[first-1]) {
		return first
	}
	end := first + 1
	for i := end; i < len(lines); i++ {
		line := lines[i]
		switch {
		case isGap(line) && !strings.HasPrefix(line, "---"):
			continue
		case line[0] == ' ' || line[0] == '\t':
		case manifestStart.MatchString(line) && isGap(lines[i-1]) && !strings.HasPrefix(lines[end-1], "---"):
			return end
		case !manifestLine.MatchString(line):
			return end
		}
		end = i + 1
	}
	return end
}

// isGap tells whether a line separates paragraphs: it is blank or a comment.
func isGap(line string) bool {
	return strings.TrimSpace(line) == "" || line[0] == '#' || strings.HasPrefix(line, "---")
}

// looksLikeManifest tells whether a text is YAML with both keys of every
// object.
func looksLikeManifest(text string) bool {
	version, kind := false, false
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" || strings.ContainsAny(line[:1], " \t#") {
			continue
		}
		if !manifestLine.MatchString(strings.TrimRight(line, "\r\n")) {
			return false
		}
		version = version || strings.HasPrefix(line, "apiVersion:")
		kind = kind || strings.HasPrefix(line, "kind:")
	}
	return version && kind
}
