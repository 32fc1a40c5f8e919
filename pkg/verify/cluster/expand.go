package cluster

import (
	"fmt"
	"regexp"
	"strings"
)

// Names gives the value that a name in ${…} stands for: a string, a bool, an
// int64, a float64, or anything else that has a text (fmt.Sprint).
type Names func(name string) (any, error)

// placeholder matches $${ (a literal ${), ${name}, and a ${ that no } ends.
var placeholder = regexp.MustCompile(`\$\$\{|\$\{([^}\n]*)\}|\$\{`)

// Text replaces every ${…} of a text by its value.
func (n Names) Text(text string) (string, error) { return n.replace(text, plain) }

// Expression replaces every ${…} of a CEL expression by its value, as it can
// stand between quotes there, or by itself where it isn't text.
func (n Names) Expression(text string) (string, error) { return n.replace(text, quoted) }

func plain(v any) string { return fmt.Sprint(v) }

// quoted escapes what would end a CEL string
// (https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values).
func quoted(v any) string {
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(plain(v))
}

func (n Names) replace(text string, write func(any) string) (string, error) {
	var failed error
	out := placeholder.ReplaceAllStringFunc(text, func(found string) string {
		switch found {
		case "$${":
			return "${"
		case "${":
			failed = first(failed, fmt.Errorf("%q: a ${ without its }; write $${ for a literal ${", excerpt(text)))
			return found
		}
		v, err := n(found[2 : len(found)-1])
		if err != nil {
			failed = first(failed, fmt.Errorf("%s: %w", found, err))
			return found
		}
		return write(v)
	})
	return out, failed
}

// Tree returns a copy of what JSON or YAML gave, with every ${…} in its texts
// and keys replaced. A text that is one ${…} becomes the value in its own
// type, so replicas: ${s.n} is a number.
func (n Names) Tree(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if m := placeholder.FindStringSubmatch(v); m != nil && m[0] == v && m[1] != "" {
			value, err := n(m[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", v, err)
			}
			switch value.(type) {
			case bool, int64, float64:
				return value, nil
			}
			return plain(value), nil
		}
		return n.Text(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			k, err := n.Text(key)
			if err != nil {
				return nil, err
			}
			if out[k], err = n.Tree(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = n.Tree(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

// texts replaces in each of several places.
func (n Names) texts(places ...*string) error {
	for _, p := range places {
		text, err := n.Text(*p)
		if err != nil {
			return err
		}
		*p = text
	}
	return nil
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func excerpt(text string) string {
	if len(text) > 60 {
		return strings.ToValidUTF8(text[:60], "") + "…"
	}
	return text
}
