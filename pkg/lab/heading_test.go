package lab

import (
	"strings"
	"testing"
)

func TestHeadings(t *testing.T) {
	for name, c := range map[string]struct {
		text, start string
		want        bool
	}{
		"a number":              {"# 1. One\n## 1.2 Two\ntext", "1.2", true},
		"with its text":         {"## 1.2 Two\ntext", "1.2 Two", true},
		"all of it":             {"## Two", "Two", true},
		"bold":                  {"## **1.2** Two", "1.2", true},
		"another number":        {"## 1.21 Two", "1.2", false},
		"one further up":        {"## 1.2 Two\n### Three\ntext", "1.2", false},
		"in a fence":            {"## 1.2 Two\n```sh\n# no heading\n```\ntext", "1.2", true},
		"in a fence of tildes":  {"## 1.2 Two\n~~~\n```\n# no heading\n~~~\ntext", "1.2", true},
		"a fence in the middle": {"## 1.2 Two\n```yaml\na: b\n# no heading", "1.2", true},
		"a tag, no heading":     {"## 1.2 Two\n#hash", "1.2", true},
		"seven marks":           {"## 1.2 Two\n####### 3", "1.2", true},
		"Chinese":               {"## 2.1 内核\n文字", "2.1 内核", true},
		"none":                  {"text", "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := underHeading(nearestHeading(strings.Split(c.text, "\n")), c.start); got != c.want {
				t.Errorf("got %v, the heading is %q", got, nearestHeading(strings.Split(c.text, "\n")))
			}
		})
	}
}
