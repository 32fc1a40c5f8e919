package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// allowed is a flag's value and what it may be.
type allowed struct {
	value  string
	values []string
}

// oneOf says which flag has a value that it can't have.
func oneOf(flags map[string]allowed) error {
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if a := flags[name]; !slices.Contains(a.values, a.value) {
			return fmt.Errorf("--%s is %q; it can be %s", name, a.value, joinOr(a.values))
		}
	}
	return nil
}

func joinOr(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
