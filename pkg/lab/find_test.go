package lab_test

import (
	"strings"
	"testing"

	"github.com/isolation-stack/labctl/pkg/lab"
)

func TestFind(t *testing.T) {
	before := []string{"# Book", "## 1. One", "first", "claim", "of two lines", "## 2. Two", "other"}
	source := lab.Source{Heading: "1", Line: 4, Lines: 2, SHA256: lab.Digest(before[3:5])}
	for name, c := range map[string]struct {
		now  string
		want lab.Place
	}{
		"unchanged":           {strings.Join(before, "\n"), lab.Place{lab.Unchanged, 4, true, "1. One"}},
		"line ends by CRLF":   {strings.Join(before, "\r\n"), lab.Place{lab.Unchanged, 4, true, "1. One"}},
		"moved down":          {"# Book\n## 1. One\nnew\nnew\nfirst\nclaim\nof two lines\n", lab.Place{lab.Moved, 6, true, "1. One"}},
		"moved up":            {"## 1. One\nclaim\nof two lines\n", lab.Place{lab.Moved, 2, true, "1. One"}},
		"the nearest of two":  {"## 1. One\nclaim\nof two lines\n\n\nclaim\nof two lines\n\n\n\n\n\nclaim\nof two lines", lab.Place{lab.Moved, 2, true, "1. One"}},
		"heading before near": {"# Book\n## 3\nclaim\nof two lines\n\n\n\n\n## 1. One\nclaim\nof two lines", lab.Place{lab.Moved, 10, true, "1. One"}},
		"renamed heading":     {"# Book\n## 1.1 One\nfirst\nclaim\nof two lines", lab.Place{lab.Unchanged, 4, true, "1.1 One"}},
		"other heading":       {"# Book\n## 11. One\nfirst\nclaim\nof two lines", lab.Place{lab.Changed, 4, true, "11. One"}},
		"changed":             {"# Book\n## 1. One\nfirst\nclaim\nof three lines\n", lab.Place{lab.Changed, 4, false, "1. One"}},
		"cut off":             {"# Book\n## 1. One\nfirst\nclaim", lab.Place{lab.Changed, 4, false, "1. One"}},
		"section moved":       {"# Book\n## 2. Two\nx\ny\n## 1. One\nz", lab.Place{lab.Changed, 5, false, "1. One"}},
		"gone":                {"# Book\n## 2. Two\nother\nx\ny\n", lab.Place{Drift: lab.Gone}},
		"heading in a fence":  {"# Book\n```\n## 1. One\n```\nx\n", lab.Place{Drift: lab.Gone}},
		"empty":               {"", lab.Place{Drift: lab.Gone}},
	} {
		if got := source.Find(lab.Lines([]byte(c.now))); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
