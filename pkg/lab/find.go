package lab

import (
	"slices"
	"strings"
)

// Tie is a source and the field of the lab that ties it to a document.
type Tie struct {
	// Field is the path of the source's field: spec.claims[3].source.
	Field string
	// Document is the path of the document, relative to the docs folder.
	Document string
	Source
}

// Ties are all the sources of a lab: those of its claims, then those of its
// examples.
func (l *Lab) Ties() []Tie {
	var out []Tie
	for _, s := range l.sources() {
		out = append(out, Tie{s.field, l.documentOf(s.Source), s.Source})
	}
	return out
}

// Drift is what became of the text of a source.
type Drift string

// The drifts.
const (
	Unchanged Drift = "unchanged" // it is where the source says
	Moved     Drift = "moved"     // it is at another line under its heading
	Changed   Drift = "changed"   // its heading is there, it isn't, or it stands elsewhere
	Gone      Drift = "gone"      // not even its heading is there
)

// Place is what became of a source's text in a document as it is now.
type Place struct {
	Drift Drift
	// Line is where the text is, or where to look for what replaced it; 0
	// where it is gone.
	Line int
	// Found says that the text is at Line, word by word.
	Found bool
	// Heading is the nearest one above Line.
	Heading string
}

// Lines are the lines of a document as sources count and hash them.
func Lines(document []byte) []string {
	return strings.Split(strings.TrimSuffix(string(document), "\n"), "\n")
}

// Find looks for the text of a source in a document's lines: at its place,
// then at the nearest place under its heading, then anywhere.
func (s Source) Find(lines []string) Place {
	near := headings(lines)
	place := func(d Drift, line int, found bool) Place { return Place{d, line, found, near[line-1]} }
	count := max(s.Lines, 1)
	here := func(line int) bool {
		return line >= 1 && line-1+count <= len(lines) && Digest(lines[line-1:line-1+count]) == s.SHA256
	}
	under := func(line int) bool {
		return line >= 1 && line <= len(lines) && underHeading(near[line-1], s.Heading)
	}
	if under(s.Line) && here(s.Line) {
		return place(Unchanged, s.Line, true)
	}
	best := 0
	for line := range len(lines) + 1 {
		// The heading counts more than the distance.
		closer := best == 0 || (under(line) && !under(best)) || (under(line) == under(best) && distance(line, s.Line) < distance(best, s.Line))
		if closer && here(line) {
			best = line
		}
	}
	first := slices.IndexFunc(near, func(h string) bool { return underHeading(h, s.Heading) }) + 1
	switch {
	case best > 0 && under(best):
		return place(Moved, best, true)
	case best > 0:
		return place(Changed, best, true)
	case under(s.Line):
		return place(Changed, s.Line, false)
	case first > 0:
		return place(Changed, first, false)
	}
	return Place{Drift: Gone}
}

func distance(a, b int) int { return max(a-b, b-a) }
