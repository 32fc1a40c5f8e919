package drift

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/isolation-stack/labctl/pkg/lab"
)

// Fix gives the text of a lab's file with the new lines of its ties that
// moved, and how many these are; nothing else of the text changes. It is an
// error if the file isn't the one that was checked.
func Fix(file string, text []byte, ties []Tie) ([]byte, int, error) {
	var moved []Tie
	for _, t := range ties {
		if t.File == file && t.Drift == lab.Moved {
			moved = append(moved, t)
		}
	}
	// The last of a line comes first, so that columns before it hold.
	slices.SortFunc(moved, func(a, b Tie) int {
		return cmp.Or(cmp.Compare(b.FileLine, a.FileLine), cmp.Compare(b.FileColumn, a.FileColumn))
	})
	lines := strings.Split(string(text), "\n")
	for _, t := range moved {
		old := strconv.Itoa(t.Line)
		var before, after string
		ok := t.FileLine <= len(lines)
		if ok {
			// The parser of YAML counts columns in code points.
			runes := []rune(lines[t.FileLine-1])
			column := min(t.FileColumn-1, len(runes))
			before = string(runes[:column])
			after, ok = strings.CutPrefix(string(runes[column:]), old)
		}
		if !ok || strings.ContainsAny(after[:min(len(after), 1)], "_0123456789") {
			return nil, 0, fmt.Errorf("%s:%d:%d: the line number %s isn't written there; write %d by hand", file, t.FileLine, t.FileColumn, old, t.Now)
		}
		lines[t.FileLine-1] = before + strconv.Itoa(t.Now) + after
	}
	return []byte(strings.Join(lines, "\n")), len(moved), nil
}
