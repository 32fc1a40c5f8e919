package rules

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// field is a place in an object: its path, as Kubernetes writes it, and what
// stands there as encoding/json decodes it (nil if there is nothing).
type field struct {
	path  string
	value any
}

// get goes down by keys.
func (f field) get(keys ...string) field {
	for _, k := range keys {
		m, _ := f.value.(map[string]any)
		f = field{join(f.path, k), m[k]}
	}
	return f
}

func join(path, key string) string {
	switch {
	case key == "" || strings.ContainsAny(key, ".[]/ "):
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// items are those of a list.
func (f field) items() []field {
	l, _ := f.value.([]any)
	items := make([]field, len(l))
	for i, v := range l {
		items[i] = field{index(f.path, i), v}
	}
	return items
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// keys are those of a map, sorted.
func (f field) keys() []string {
	m, _ := f.value.(map[string]any)
	return slices.Sorted(maps.Keys(m))
}

// has says whether a map has a key, be its value null.
func (f field) has(key string) bool {
	m, _ := f.value.(map[string]any)
	_, ok := m[key]
	return ok
}

// text gives a string, "" for anything else.
func (f field) text() string {
	s, _ := f.value.(string)
	return s
}

// number gives a whole number.
func (f field) number() (int, bool) {
	n, ok := f.value.(float64)
	return int(n), ok && n == float64(int(n))
}

// truth gives a boolean, and whether it is one.
func (f field) truth() (value, ok bool) {
	value, ok = f.value.(bool)
	return value, ok
}

// empty says that there is nothing: no field, null, {}, [] or "".
func (f field) empty() bool {
	switch v := f.value.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	case string:
		return v == ""
	}
	return false
}

// labels gives a map of strings; ok is false if a value is something else.
func (f field) labels() (labels map[string]string, ok bool) {
	m, isMap := f.value.(map[string]any)
	labels = make(map[string]string, len(m))
	for k, v := range m {
		s, isText := v.(string)
		if !isText {
			return nil, false
		}
		labels[k] = s
	}
	return labels, isMap
}

// texts calls do for each string below a field, in the order of the paths.
func (f field) texts(do func(field)) {
	switch f.value.(type) {
	case string:
		do(f)
	case map[string]any:
		for _, k := range f.keys() {
			f.get(k).texts(do)
		}
	case []any:
		for _, item := range f.items() {
			item.texts(do)
		}
	}
}
