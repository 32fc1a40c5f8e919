package classify

import (
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// maxCounted is how many values of a document are looked at.
const maxCounted = 5000

// isProse says whether YAML is text for people: keys that are words of a
// sentence, or values most of which are sentences.
func isProse(root *yaml.Node) bool {
	if !isMapping(root) && !isList(root) {
		return true
	}
	var c counts
	c.add(root)
	return 3*c.titles >= max(c.keys, 1) || 2*c.sentences > c.scalars
}

type counts struct{ keys, titles, scalars, sentences int }

func (c *counts) add(n *yaml.Node) {
	if c.keys+c.scalars > maxCounted {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.keys++
			if !identifier.MatchString(n.Content[i].Value) {
				c.titles++
			}
			c.add(n.Content[i+1])
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			c.add(item)
		}
	case yaml.ScalarNode:
		c.scalars++
		if n.Style == 0 && sentence(n.Value) {
			c.sentences++
		}
	}
}

// identifier is a key of a program: one word.
var identifier = regexp.MustCompile(`^[A-Za-z0-9_$@.*/<][\w.\-/:@*$+~\[\]<>{},=|()]*$`)

// sentence says whether a value that has no quotes is text for people: several
// words, or characters of a script without spaces.
func sentence(s string) bool {
	words := 0
	for _, w := range strings.Fields(s) {
		letters := 0
		for _, r := range w {
			switch {
			case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul):
				return true
			case unicode.IsLetter(r):
				letters++
			}
		}
		if letters > 1 {
			words++
		}
	}
	return words > 2
}
