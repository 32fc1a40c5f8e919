package extract

import (
	"path"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// apply marks the streams that kubectl sends to an API server.
func (s *shell) apply(args []string, words []*syntax.Word, in []*stream) {
	var target string
	var sent []*stream
	verb := false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		value := func(short, long string) (string, bool) {
			if (arg == short || arg == long) && i+1 < len(args) {
				i++
				return args[i], true
			}
			if v, ok := strings.CutPrefix(arg, long+"="); ok {
				return v, true
			}
			if v, ok := strings.CutPrefix(arg, short); ok && !strings.HasPrefix(arg, "--") && v != "" {
				return strings.TrimPrefix(v, "="), true
			}
			return "", false
		}
		if v, ok := value("-n", "--namespace"); ok {
			target = v
		} else if v, ok := value("-f", "--filename"); ok {
			sent = append(sent, s.input(v, words[i], in)...)
		} else if slices.Contains([]string{"apply", "create", "replace", "diff"}, arg) {
			verb = true
		}
	}
	if !verb {
		return
	}
	for _, stream := range sent {
		stream.applied = true
		if stream.target == "" && namespaceName.MatchString(target) {
			stream.target = target
		}
	}
}

// input is what kubectl reads for the value of -f, the word in which it stands.
func (s *shell) input(files string, word *syntax.Word, in []*stream) (sent []*stream) {
	for _, part := range word.Parts {
		if p, ok := part.(*syntax.ProcSubst); ok {
			return s.runAll(p.Stmts, nil)
		}
	}
	for file := range strings.SplitSeq(files, ",") {
		if file == "-" || file == "/dev/stdin" {
			sent = append(sent, in...)
			continue
		}
		clean := path.Clean(file)
		sent = append(sent, s.files[clean]...)
		for name, written := range s.files {
			if path.Dir(name) == clean {
				sent = append(sent, written...)
			}
		}
	}
	return sent
}
