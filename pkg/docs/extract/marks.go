package extract

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// The keys of marks.
const (
	Skip      = "skip"      // the example isn't judged
	Expect    = "expect"    // the example is to be judged as the value says
	Namespace = "namespace" // objects without a namespace belong there
	After     = "after"     // another example, of a line or a digest, comes first
)

// Rejected is the value of Expect: the example is to be refused.
const Rejected = "rejected"

var (
	markKey   = regexp.MustCompile(`^([\w-]+)\s*:?\s*`)
	markWord  = regexp.MustCompile(`^([^\s"'=]+)(?:\s+|$)`)
	markField = regexp.MustCompile(`^([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))`)
	// A label of RFC 1123, as names of namespaces are.
	namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// parseMark reads what follows "labctl:" in a comment, or says why it can't:
//
//	KEY [:] [VALUE] [reason="…"]
func parseMark(text string) (m docs.Mark, problem string) {
	rest := strings.TrimSpace(text)
	key := markKey.FindStringSubmatch(rest)
	if key == nil {
		return m, "The mark has no key; it is one of skip, expect, namespace and after"
	}
	m.Key, rest = key[1], rest[len(key[0]):]
	for rest != "" {
		if field := markField.FindStringSubmatch(rest); field != nil {
			if field[1] != "reason" {
				return m, fmt.Sprintf("The mark %s has no field %q, only reason", cut(m.Key), cut(field[1]))
			}
			if m.Reason != "" {
				return m, fmt.Sprintf("The mark %s has two reasons", cut(m.Key))
			}
			m.Reason = strings.TrimSpace(field[2] + field[3] + field[4])
			rest = strings.TrimSpace(rest[len(field[0]):])
			continue
		}
		word := markWord.FindStringSubmatch(rest)
		if word == nil || m.Value != "" || m.Reason != "" {
			return m, fmt.Sprintf("The mark %s can't be read from %q on; it is `%s`", cut(m.Key), cut(rest), usage(m.Key))
		}
		m.Value, rest = word[1], rest[len(word[0]):]
	}
	return m, check(m)
}

func check(m docs.Mark) string {
	switch m.Key {
	case Skip, Expect:
		if m.Key == Skip && m.Value != "" || m.Key == Expect && m.Value != Rejected {
			return fmt.Sprintf("The value %q of the mark %s isn't known; it is `%s`", cut(m.Value), m.Key, usage(m.Key))
		}
		if m.Reason == "" {
			return fmt.Sprintf("The mark %s has no reason; it is `%s`", m.Key, usage(m.Key))
		}
	case Namespace:
		if !namespaceName.MatchString(m.Value) {
			return fmt.Sprintf("%q is no name of a namespace; it is `%s`", cut(m.Value), usage(m.Key))
		}
	case After:
		if m.Value == "" {
			return fmt.Sprintf("The mark after names no example; it is `%s`", usage(m.Key))
		}
	default:
		return fmt.Sprintf("The mark %q isn't known; it is one of skip, expect, namespace and after", cut(m.Key))
	}
	return ""
}

func usage(key string) string {
	switch key {
	case Skip:
		return `labctl: skip reason="…"`
	case Expect:
		return `labctl: expect: rejected reason="…"`
	case Namespace:
		return "labctl: namespace: NAME"
	case After:
		return "labctl: after: LINE-or-DIGEST"
	}
	return "labctl: KEY: VALUE"
}

// cut keeps a message short.
func cut(s string) string {
	const most = 40
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// attach makes marks of the comments, each about the next example before the
// next heading. A mark about a shell block is about each stream of manifests
// in it, because they are what is judged of it.
func (d *document) attach() {
	type place struct {
		key     string
		example int
	}
	taken := map[place]bool{}
	for _, c := range d.comments {
		m, problem := parseMark(c.text)
		if c.open {
			problem = "The comment isn't closed by -->"
		}
		if problem != "" {
			d.find(markInvalid, c.Position, problem+".")
			continue
		}
		m.Position, m.Example = c.Position, -1
		first, end := d.concerned(c.Position)
		if first == end {
			d.Marks = append(d.Marks, m)
			d.find(markUnused, c.Position, fmt.Sprintf("No example follows the mark %s before the next heading.", m.Key))
			continue
		}
		if taken[place{m.Key, first}] {
			d.find(markInvalid, c.Position, fmt.Sprintf("There is another mark %s about the same example.", m.Key))
			continue
		}
		taken[place{m.Key, first}] = true
		for m.Example = first; m.Example < end; m.Example++ {
			d.Marks = append(d.Marks, m)
		}
	}
}

// concerned gives the range of examples that a mark is about.
func (d *document) concerned(mark docs.Position) (first, end int) {
	n := len(d.Examples)
	first = sort.Search(n, func(i int) bool { return before(mark, d.Examples[i].Position) })
	heading := sort.Search(len(d.headings), func(i int) bool { return before(mark, d.headings[i]) })
	if first == n || heading < len(d.headings) && before(d.headings[heading], d.Examples[first].Position) {
		return 0, 0
	}
	end = first + 1
	for end < n && d.Examples[end].EndLine <= d.Examples[first].EndLine {
		end++
	}
	if end > first+1 { // a shell block with streams
		first++
	}
	return first, end
}

func before(a, b docs.Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}
