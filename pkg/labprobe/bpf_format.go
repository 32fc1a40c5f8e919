package labprobe

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// eventFormat holds the fields of a tracepoint's event by name, as its
// format file in tracefs describes them (Documentation/trace/events.rst).
type eventFormat map[string]eventField

// eventField is where a field lies in the event, in bytes.
type eventField struct{ offset, size int }

var fieldLine = regexp.MustCompile(`^\s*field:(.+);\s*offset:(\d+);\s*size:(\d+);`)

func parseEventFormat(text string) (eventFormat, error) {
	format := eventFormat{}
	for line := range strings.Lines(text) {
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		// The declaration is C: "char prev_comm[16]", "__u16 dport".
		words := strings.Fields(m[1])
		name, _, _ := strings.Cut(words[len(words)-1], "[")
		offset, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("offset of %s: %w", name, err)
		}
		size, err := strconv.Atoi(m[3])
		if err != nil {
			return nil, fmt.Errorf("size of %s: %w", name, err)
		}
		format[strings.TrimPrefix(name, "*")] = eventField{offset, size}
	}
	if len(format) == 0 {
		return nil, fmt.Errorf("no fields in %.80q", text)
	}
	return format, nil
}

// number returns a field that fits a register.
func (f eventFormat) number(name string) (eventField, error) {
	field, ok := f[name]
	if !ok {
		return eventField{}, fmt.Errorf("the event has no field %s", name)
	}
	switch field.size {
	case 1, 2, 4, 8:
		return field, nil
	}
	return eventField{}, fmt.Errorf("field %s of %d bytes is no number", name, field.size)
}
