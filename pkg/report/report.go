// Package report turns a result into bytes: tables for people, JSON, YAML and
// JUnit XML for machines. Its functions are pure.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/isolation-stack/labctl/pkg/lab"
	"github.com/isolation-stack/labctl/pkg/verify/result"
)

// Language is the language of statements and reasons; headings are English.
type Language string

// The languages of labs.
const (
	English Language = "en"
	Chinese Language = "zh"
)

// Options say how a report for people looks.
type Options struct {
	// Language is English if empty.
	Language Language
	// Color uses ANSI escapes (ECMA-48 SGR).
	Color bool
}

func (o Options) text(t lab.Text) string {
	if o.Language == Chinese {
		return t.ZH
	}
	return t.EN
}

// Formats are the formats of Write.
var Formats = []string{"table", "wide", "json", "yaml", "markdown"}

// Write gives the result in one of Formats.
func Write(format string, r result.Result, o Options) ([]byte, error) {
	switch format {
	case "table":
		return Table(r, o), nil
	case "wide":
		return Wide(r, o), nil
	case "markdown":
		return Markdown(r, o), nil
	}
	return Data(format, r)
}

// Data gives any value that is stable as JSON as json or yaml.
func Data(format string, value any) ([]byte, error) {
	switch format {
	case "json":
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false) // expressions are full of < and &
		e.SetIndent("", "  ")
		err := e.Encode(value)
		return b.Bytes(), err
	case "yaml":
		return yaml.Marshal(value)
	}
	return nil, fmt.Errorf("unknown format %q; write one of %s", format, strings.Join(Formats, ", "))
}
