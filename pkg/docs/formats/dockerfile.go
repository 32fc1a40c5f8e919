package formats

import (
	"errors"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/isolation-stack/labctl/pkg/docs"
)

var (
	dockerfileInvalid = docs.Rule{
		ID: "dockerfile-invalid", Severity: docs.Error,
		Title: "a Dockerfile can't be built",
		Help: "BuildKit's parser refuses the Dockerfile: an unknown instruction, a wrong flag, missing arguments, or a FROM whose image can't exist by that name. " +
			"A block without FROM is read as a part of a Dockerfile.",
	}
	dockerfileLint = docs.Rule{
		ID: "dockerfile-lint", Severity: docs.Note,
		Title: "BuildKit warns of something in a Dockerfile",
		Help:  "The image is built, with this warning of `docker build --check`. https://docs.docker.com/reference/build-checks/ explains each of them.",
	}
)

var dockerfile = format{
	name: "Dockerfile", rules: []docs.Rule{dockerfileInvalid, dockerfileLint},
	is: func(t text) bool {
		return (t.Format == "dockerfile" || t.Language == "dockerfile" || t.Language == "containerfile") && !abridged(t.Text)
	},
	check: checkDockerfile,
}

func checkDockerfile(t text) (found []docs.Finding) {
	lines := t.lines()
	report := func(r docs.Rule, line int, message string) {
		if len(found) > maxFindings {
			return
		}
		if line < 1 || line > len(t.Lines) {
			line = 1
		}
		source := lines[line-1]
		column := 1 + len(source) - len(strings.TrimLeft(source, " \t"))
		found = append(found, t.finding(r, line, column, "%s", message))
	}
	result, err := parser.Parse(strings.NewReader(t.Text))
	if err != nil {
		if strings.Contains(err.Error(), "file with no instructions") {
			return nil
		}
		report(dockerfileInvalid, firstLine(err), "BuildKit refuses the Dockerfile: "+cause(err))
		return found
	}
	warn := func(name, _, _, message string, at []parser.Range) {
		line := 1
		if len(at) > 0 {
			line = at[0].Start.Line
		}
		report(dockerfileLint, line, "BuildKit warns ("+name+"): "+message)
	}
	lint := linter.New(&linter.Config{Warn: warn})
	if fragment(result.AST) {
		result.AST.Children = append([]*parser.Node{from()}, result.AST.Children...)
	}
	stages, _, err := instructions.Parse(result.AST, lint)
	if err != nil {
		report(dockerfileInvalid, firstLine(err), "BuildKit refuses the Dockerfile: "+cause(err))
	}
	names := map[string]bool{}
	for _, s := range stages {
		if s.BaseName != "" && !names[strings.ToLower(s.BaseName)] && !strings.Contains(s.BaseName, "$") {
			if _, err := reference.ParseNormalizedNamed(s.BaseName); err != nil {
				report(dockerfileInvalid, s.Location[0].Start.Line, "no image can have the name "+s.BaseName+": "+err.Error())
			}
		}
		names[strings.ToLower(s.Name)] = true
	}
	return found
}

// fragment says that there is no stage to build.
func fragment(root *parser.Node) bool {
	for _, n := range root.Children {
		if strings.EqualFold(n.Value, "from") {
			return false
		}
	}
	return true
}

// from is the stage that a part of a Dockerfile is judged in.
func from() *parser.Node {
	result, err := parser.Parse(strings.NewReader("FROM scratch\n"))
	if err != nil {
		panic(err) // a constant
	}
	return result.AST.Children[0]
}

func firstLine(err error) int {
	var at *parser.LocationError
	if errors.As(err, &at) && len(at.Locations) > 0 && len(at.Locations[0]) > 0 {
		return at.Locations[0][0].Start.Line
	}
	return 1
}

// cause is a message without the line that BuildKit puts before it.
func cause(err error) string {
	message := err.Error()
	if rest, ok := strings.CutPrefix(message, "dockerfile parse error on line "); ok {
		if _, after, ok := strings.Cut(rest, ": "); ok {
			return after
		}
	}
	return message
}
