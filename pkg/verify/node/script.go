package node

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/isolation-stack/labctl/pkg/evidence"
	"github.com/isolation-stack/labctl/pkg/verify/probe"
)

// frame makes the folder $WORK, runs the script $1 in it and removes it,
// whatever the script leaves mounted there.
//
//go:embed frame.sh
var frame string

// prelude defines the functions that a script gives evidence by. It is one
// line before the script's first, so that the shell's messages have the
// script's line numbers. Values go as base64 because they may hold anything.
const prelude = `evidence() { printf '\n@evidence %s %s\n' "$1" "$(if [ $# -gt 1 ]; then printf %s "$2"; else cat; fi | base64 -w0)"; }; ` +
	`untestable() { printf '\n@untestable %s\n' "$(printf %s "$1" | base64 -w0)"; exit 0; }; `

// ownMounts runs sh -c with its arguments in a mount namespace of its own: what
// a script mounts, and what `ip netns add` does to /run/netns (ip-netns(8)),
// neither stays nor meets the mounts of Pods. Where that is refused, no script
// can mount anything either.
const ownMounts = `if unshare --mount --propagation slave true 2>/dev/null; then exec unshare --mount --propagation slave sh -c "$@"; fi
exec sh -c "$@"`

// Script is a script that gives the evidence it declares, for every family
// that has some.
type Script struct {
	// Text is for sh -eu, in a folder of its own (Params.Script).
	Text string
	// Env is the script's environment beside $WORK, $LABPROBE and
	// $LABPROBE_WASM: NAME=VALUE.
	Env []string
	// Outputs are what it gives, all of it (Declare).
	Outputs []evidence.Output
	// Timeout is the longest that it may take.
	Timeout time.Duration
	// SharedMounts says that what it mounts, and the daemons that it starts
	// mount, is for all of the place; else it is for the script alone.
	SharedMounts bool
}

// Run runs the script in a place. It returns what the script declares, an
// *evidence.Untestable where the script says so, or an error.
func (s Script) Run(ctx context.Context, place probe.Place) (evidence.Set, error) {
	argv := append([]string{
		"env",
		"LABPROBE=" + place.Labprobe(),
		"LABPROBE_WASM=" + place.Labprobe() + ModuleSuffix,
	}, s.Env...)
	argv = append(argv, "sh", "-c")
	if !s.SharedMounts {
		argv = append(argv, ownMounts, "sh")
	}
	r, err := runLimited(ctx, place, s.Timeout, "script", append(argv, frame, "sh", prelude+s.Text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.Name(), err)
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("%s: script: exit code %d%s%s", place.Name(), r.Code, said(withoutMarks(r.Stdout)), said(r.Stderr))
	}
	set, err := parseScript(r.Stdout, s.Outputs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", place.Name(), err, said(r.Stderr))
	}
	return set.At(place.Name()), nil
}

// parseScript reads the evidence in a script's output: every declared value
// once and no other.
func parseScript(stdout []byte, outputs []evidence.Output) (evidence.Set, error) {
	var set evidence.Set
	for line := range strings.Lines(string(stdout)) {
		mark, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		switch mark {
		case "@untestable":
			reason, err := base64.StdEncoding.DecodeString(rest)
			if err != nil {
				return nil, fmt.Errorf("script: untestable: %w", err)
			}
			return nil, &evidence.Untestable{Reason: strings.TrimSpace(string(reason))}
		case "@evidence":
			v, err := parseMark(rest, outputs)
			if err != nil {
				return nil, fmt.Errorf("script: %w", err)
			}
			if _, dup := set.Get(v.Name); dup {
				return nil, fmt.Errorf("script: evidence %s comes twice", v.Name)
			}
			set = append(set, v)
		}
	}
	for _, o := range outputs {
		if _, ok := set.Get(o.Name); !ok {
			return nil, fmt.Errorf("script: evidence %s is declared and didn't come%s", o.Name, said(withoutMarks(stdout)))
		}
	}
	return set, nil
}

func parseMark(rest string, outputs []evidence.Output) (evidence.Value, error) {
	name, encoded, _ := strings.Cut(rest, " ")
	i := slices.IndexFunc(outputs, func(o evidence.Output) bool { return o.Name == name })
	if i < 0 {
		return evidence.Value{}, fmt.Errorf("evidence %q isn't declared in outputs", name)
	}
	o := outputs[i]
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return evidence.Value{}, fmt.Errorf("evidence %s: %w", name, err)
	}
	value, err := parseValue(o.Type, strings.TrimRight(string(raw), "\n"))
	if err != nil {
		return evidence.Value{}, fmt.Errorf("evidence %s: %w", name, err)
	}
	return evidence.Value{
		Name: o.Name, Type: o.Type, Value: value, Unit: o.Unit,
		Source: evidence.Source{Kind: "command", Ref: "script"},
	}, nil
}

// parseValue reads a value as text: true or false; a number; a duration as Go
// writes it (1.5s, 12000ns); a Kubernetes quantity; a list's members a line each.
func parseValue(t evidence.Type, s string) (any, error) {
	var v any
	var err error
	switch t {
	case evidence.String:
		return s, nil
	case evidence.List:
		if s == "" {
			return []string{}, nil
		}
		return strings.Split(s, "\n"), nil
	case evidence.Bool:
		if s != "true" && s != "false" {
			return nil, fmt.Errorf("%.100q is not true or false", s)
		}
		return s == "true", nil
	case evidence.Int:
		v, err = strconv.ParseInt(s, 10, 64)
	case evidence.Double:
		v, err = strconv.ParseFloat(s, 64)
	case evidence.Duration:
		v, err = time.ParseDuration(s)
	case evidence.Quantity:
		_, err = resource.ParseQuantity(s)
		v = s
	default:
		return nil, fmt.Errorf("unknown type %q", t)
	}
	if err != nil {
		return nil, fmt.Errorf("%.100q is not of type %s: %w", s, t, err)
	}
	return v, nil
}

func withoutMarks(stdout []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(stdout)) {
		if !strings.HasPrefix(line, "@evidence ") && line != "\n" {
			b.WriteString(line)
		}
	}
	return []byte(b.String())
}

var (
	nameRule = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`)
	types    = []evidence.Type{evidence.Bool, evidence.Int, evidence.Double, evidence.String, evidence.Duration, evidence.Quantity, evidence.List}
)

// Declare checks and converts a script's declarations.
func Declare(outputs []Output) ([]evidence.Output, error) {
	if len(outputs) == 0 {
		return nil, errors.New("outputs: a script declares what it gives: name, type, unit, doc")
	}
	var out []evidence.Output
	for i, o := range outputs {
		if !nameRule.MatchString(o.Name) {
			return nil, fmt.Errorf("outputs[%d].name: %q is no dotted lower-case name", i, o.Name)
		}
		if !slices.Contains(types, o.Type) {
			return nil, fmt.Errorf("outputs[%d].type: %q is unknown; known: %v", i, o.Type, types)
		}
		if slices.ContainsFunc(out, func(x evidence.Output) bool { return x.Name == o.Name }) {
			return nil, fmt.Errorf("outputs[%d].name: %s comes twice", i, o.Name)
		}
		out = append(out, evidence.Output(o))
	}
	return out, nil
}
