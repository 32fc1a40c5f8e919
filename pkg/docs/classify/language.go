package classify

import (
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// kind of a language: how a block of it is read.
type kind int

const (
	code    kind = iota // a language of programs
	data                // YAML
	object              // JSON
	unnamed             // a block without a language
	text                // for people
	file                // configuration in a language of its own
)

var kinds = map[string]kind{
	"yaml": data, "yml": data,
	"json": object, "jsonc": object, "json5": object,
	"":     unnamed,
	"text": text, "txt": text, "plain": text, "plaintext": text, "none": text, "nohighlight": text,
	"output": text, "log": text, "md": text, "markdown": text, "ascii": text, "mermaid": text,
	"toml": file, "dockerfile": file, "docker": file, "containerfile": file,
}

func kindOf(language string) kind { return kinds[strings.ToLower(language)] }

// ofFile is a block of TOML or of a Dockerfile.
func ofFile(language, text string) verdict {
	if language != "toml" {
		return verdict{class: docs.Config, format: "dockerfile"}
	}
	if len(text) > maxTOML {
		return verdict{class: docs.Code}
	}
	var root map[string]any
	if _, err := toml.Decode(text, &root); err != nil {
		// A section's header says as much as the keys.
		if containerdSection.MatchString(text) {
			return verdict{class: docs.Config, format: "containerd"}
		}
		return verdict{class: docs.Code}
	}
	for _, f := range tomlFormats {
		if f.is(root) {
			return verdict{class: docs.Config, format: f.name}
		}
	}
	return verdict{class: docs.Code}
}
