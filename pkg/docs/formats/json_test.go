package formats

import "testing"

func TestJSON(t *testing.T) {
	run1(t, []testCase{
		{name: "right", language: "json", content: "{\"a\": [1, 2]}\n"},
		{name: "lines of a log", language: "json", content: "{\"a\": 1}\n{\"a\": 2}\n"},
		{name: "a comma too many", language: "json", content: "{\n  \"a\": 1,\n}\n", want: []string{"json-invalid 3:1"}, message: "invalid character '}'"},
		{name: "a comment", language: "json", content: "{\n  \"a\": 1 // one\n}\n", want: []string{"json-invalid 2:10"}},
		{name: "not closed", language: "json", content: "{\n  \"a\": 1\n", want: []string{"json-invalid 2:8"}, message: "unexpected EOF"},
		{name: "left out", language: "json", content: "{\n  \"a\": 1,\n  ...\n}\n"},
		{name: "left out in a line", language: "json", content: "{\"a\": {...}}\n"},
		{name: "jsonc", language: "jsonc", content: "{\"a\": 1} // one\n"},
	})
}
