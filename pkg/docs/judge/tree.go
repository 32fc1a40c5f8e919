package judge

import (
	"reflect"
	"strconv"
	"strings"
)

// Objects are what encoding/json makes of JSON: map[string]any, []any and
// scalars.

// get gives what stands at a way down; nil if there is nothing.
func get(v any, way ...string) any {
	for _, name := range way {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}

func text(v any, way ...string) string {
	s, _ := get(v, way...).(string)
	return s
}

// prune takes what stands at a path out of an object. An item of a list is
// replaced by nothing only in its field, so the places of others stay.
func prune(object any, path string) bool {
	steps := steps(object, path)
	if len(steps) == 0 {
		return false
	}
	at := object
	for _, s := range steps[:len(steps)-1] {
		at = down(at, s)
	}
	last := steps[len(steps)-1]
	switch at := at.(type) {
	case map[string]any:
		if _, ok := at[last]; ok {
			delete(at, last)
			return true
		}
	case []any:
		if i, err := strconv.Atoi(last); err == nil && i < len(at) && at[i] != nil {
			at[i] = nil
			return true
		}
	}
	return false
}

// move puts a value where it belongs, if nothing is there.
func move(object any, from, to string) bool {
	value := at(object, from)
	i := strings.LastIndexByte(to, '.')
	if value == nil || i < 0 || at(object, to) != nil {
		return false
	}
	parent, name := to[:i], to[i+1:]
	if at(object, parent) == nil { // a structure that isn't there at all
		j := strings.LastIndexByte(parent, '.')
		above, ok := at(object, parent[:max(j, 0)]).(map[string]any)
		if !ok {
			return false
		}
		above[parent[j+1:]] = map[string]any{}
	}
	m, ok := at(object, parent).(map[string]any)
	if !ok || !prune(object, from) {
		return false
	}
	m[name] = value
	return true
}

// steps resolves a path against an object: keys may hold dots. nil if there
// is no such field.
func steps(v any, path string) []string {
	path = strings.TrimPrefix(path, ".")
	if path == "" {
		return []string{}
	}
	switch v := v.(type) {
	case []any:
		inside, rest, ok := strings.Cut(strings.TrimPrefix(path, "["), "]")
		i, err := strconv.Atoi(inside)
		if !ok || !strings.HasPrefix(path, "[") || err != nil || i < 0 || i >= len(v) {
			return nil
		}
		if more := steps(v[i], rest); more != nil {
			return append([]string{inside}, more...)
		}
	case map[string]any:
		if strings.HasPrefix(path, "[") {
			inside, rest, ok := strings.Cut(path[1:], "]")
			if child, found := v[inside]; ok && found {
				if more := steps(child, rest); more != nil {
					return append([]string{inside}, more...)
				}
			}
			return nil
		}
		for end := 1; end <= len(path); end++ {
			if end < len(path) && path[end] != '.' && path[end] != '[' {
				continue
			}
			if child, found := v[path[:end]]; found {
				if more := steps(child, path[end:]); more != nil {
					return append([]string{path[:end]}, more...)
				}
			}
		}
	}
	return nil
}

// at gives what stands at a path; nil if there is nothing.
func at(v any, path string) any {
	way := steps(v, path)
	if way == nil {
		return nil
	}
	for _, s := range way {
		v = down(v, s)
	}
	return v
}

func down(v any, step string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[step]
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
			return v[i]
		}
	}
	return nil
}

// difference gives the path of the first field below another path that
// differs between two manifests, "" if none does.
func difference(before, after any, path string) string {
	if reflect.DeepEqual(before, after) {
		return ""
	}
	switch b := after.(type) {
	case map[string]any:
		a, ok := before.(map[string]any)
		if !ok {
			return path
		}
		for _, k := range sortedKeys(b) {
			if d := difference(a[k], b[k], join(path, k)); d != "" {
				return d
			}
		}
	case []any:
		a, ok := before.([]any)
		if !ok {
			return path
		}
		for i := range b {
			if i >= len(a) {
				return path + index(i)
			}
			if d := difference(a[i], b[i], path+index(i)); d != "" {
				return d
			}
		}
	}
	return path
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
