package formats

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var jsonInvalid = docs.Rule{
	ID: "json-invalid", Severity: docs.Note,
	Title: "a block of JSON doesn't parse",
	Help: "A reader who copies it gets this error. Comments and a comma after the last item aren't JSON; a block that is meant to have them can be marked jsonc or json5. " +
		"Blocks with an ellipsis or placeholders are left out.",
}

var jsonFormat = format{
	name: "JSON", rules: []docs.Rule{jsonInvalid},
	is: func(t text) bool {
		return t.Language == "json" && !abridged(t.Text) && !strings.Contains(t.Text, "...") && !strings.Contains(t.Text, "…")
	},
	check: func(t text) []docs.Finding {
		decoder := json.NewDecoder(strings.NewReader(t.Text))
		for { // several values, one after the other, are what logs have
			var value json.RawMessage
			err := decoder.Decode(&value)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				continue
			}
			end := len(strings.TrimRight(t.Text, " \t\r\n"))
			var at *json.SyntaxError
			if errors.As(err, &at) {
				end = min(end, int(at.Offset))
			}
			before := t.Text[:max(end-1, 0)]
			line, column := strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n')
			return []docs.Finding{t.finding(jsonInvalid, line, column, "the JSON doesn't parse: %v", err)}
		}
	},
}
