package extract

import (
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// The limits of what is parsed as commands.
const (
	// maxScript is the size in bytes of the commands of a block, without
	// here-documents and bare YAML, and maxParentheses the number of opening
	// parentheses in it. They bound the parser's recursion.
	maxScript      = 32 << 10
	maxParentheses = 1000
	// maxScripts is how many bytes of a document are parsed, those counted
	// again that are read twice.
	maxScripts = 1 << 20
)

// shell follows the commands of a document as far as they move manifests.
// Nothing is executed.
type shell struct {
	parser *syntax.Parser
	// files are what commands wrote, by cleaned path.
	files map[string][]*stream
	// budget is how many bytes may still be parsed.
	budget int

	// Of the block that is being read:
	block *block
	// script is what the parser gets of the block, starts the offsets of its
	// lines, base the offset of the part that is being parsed.
	script string
	starts []int
	base   int
	// heredocs are by the offset of their operator in script.
	heredocs map[int]*stream
	found    []*stream
}

func newShell() *shell {
	return &shell{parser: syntax.NewParser(), files: map[string][]*stream{}, budget: maxScripts}
}

// read follows the commands of a block and gives the streams in it. Limited
// tells that the commands are beyond a limit and were left out.
func (s *shell) read(b *block) (found []*stream, limited bool) {
	s.block, s.heredocs, s.starts = b, map[int]*stream{}, nil
	s.script = strings.Join(b.script, "\n") + "\n"
	n := 0
	for _, line := range b.script {
		s.starts = append(s.starts, n)
		n += len(line) + 1
	}
	s.found = b.bare
	for _, h := range b.heredocs {
		s.heredocs[s.starts[h.line]+h.column] = h.stream
		s.found = append(s.found, h.stream)
	}
	if len(b.heredocs) == 0 && !movesManifests.MatchString(s.script) {
		return s.found, false
	}
	if len(s.script) > maxScript || strings.Count(s.script, "(") > maxParentheses || s.budget <= 0 {
		return s.found, true
	}
	s.parse()
	return s.found, false
}

// movesManifests is what commands without here-documents have that matter
// here: an apply of a file that may have been written before, or a manifest as
// an argument.
var movesManifests = regexp.MustCompile(`-f|--filename|apiVersion`)

// parse takes all statements that are valid; one that isn't loses its first
// line, and what follows is tried again, with a bound on what is read twice.
func (s *shell) parse() {
	s.base = 0
	for budget := 8 * maxScript; budget > 0 && s.budget > 0; {
		rest := s.script[s.base:]
		read := &counter{Reader: strings.NewReader(rest)}
		var end int
		var failed error
		for stmt, err := range s.parser.StmtsSeq(read) {
			// No break: the parser may give an error twice, even after that.
			if failed = errors.Join(failed, err); failed != nil {
				continue
			}
			s.run(stmt, nil)
			end = int(stmt.End().Offset())
		}
		budget -= read.n
		s.budget -= read.n
		if failed == nil {
			return
		}
		rest = rest[min(end, len(rest)):]
		blank := len(rest) - len(strings.TrimLeft(rest, " \t\n"))
		newline := strings.IndexByte(rest[blank:], '\n')
		if newline < 0 {
			return
		}
		s.base = len(s.script) - len(rest) + blank + newline + 1
	}
}

// counter counts what is read.
type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// run gives what a statement writes, as far as that is known, when it reads in.
func (s *shell) run(stmt *syntax.Stmt, in []*stream) (out []*stream) {
	for _, r := range stmt.Redirs {
		switch r.Op {
		case syntax.Hdoc, syntax.DashHdoc:
			in = nil
			if h := s.heredocs[s.base+int(r.OpPos.Offset())]; h != nil {
				in = []*stream{h}
			}
		case syntax.WordHdoc:
			in = s.quoted(r.Word)
		case syntax.RdrIn:
			in = s.files[path.Clean(literal(r.Word))]
		}
	}
	switch c := stmt.Cmd.(type) {
	case *syntax.BinaryCmd:
		out = s.run(c.X, in)
		if c.Op == syntax.Pipe || c.Op == syntax.PipeAll {
			out = s.run(c.Y, out)
		} else {
			out = append(out, s.run(c.Y, in)...)
		}
	case *syntax.Subshell:
		out = s.runAll(c.Stmts, in)
	case *syntax.Block:
		out = s.runAll(c.Stmts, in)
	case *syntax.CallExpr:
		out = s.call(c, in)
	case nil:
	default:
		s.inside(c)
	}
	for _, r := range stmt.Redirs {
		if r.N != nil && r.N.Value != "1" {
			continue
		}
		switch r.Op {
		case syntax.RdrOut, syntax.RdrClob, syntax.RdrAll:
			s.write(literal(r.Word), out, false)
			out = nil
		case syntax.AppOut, syntax.AppAll:
			s.write(literal(r.Word), out, true)
			out = nil
		}
	}
	return out
}

func (s *shell) runAll(stmts []*syntax.Stmt, in []*stream) (out []*stream) {
	for _, stmt := range stmts {
		out = append(out, s.run(stmt, in)...)
	}
	return out
}

// inside runs the statements inside a node whose own output isn't known: a
// loop, a condition, the words of a command.
func (s *shell) inside(n syntax.Node) {
	syntax.Walk(n, func(n syntax.Node) bool {
		if stmt, ok := n.(*syntax.Stmt); ok {
			s.run(stmt, nil)
			return false
		}
		return true
	})
}

func (s *shell) write(file string, out []*stream, more bool) {
	file = path.Clean(file)
	if more {
		out = append(s.files[file][:len(s.files[file]):len(s.files[file])], out...)
	}
	s.files[file] = out
}

// wrappers are commands that run the command after them.
var wrappers = map[string]bool{
	"sudo": true, "doas": true, "env": true, "time": true, "command": true, "exec": true, "nohup": true, "nsenter": true, "ssh": true,
	"docker": true, "podman": true, "nerdctl": true, "k3s": true, "microk8s": true, "minikube": true, "multipass": true, "vagrant": true,
}

var tools = map[string]bool{"kubectl": true, "oc": true, "cat": true, "tee": true, "envsubst": true, "echo": true}

// call gives what a command writes.
func (s *shell) call(c *syntax.CallExpr, in []*stream) []*stream {
	words := c.Args
	for len(words) > 0 && wrappers[path.Base(literal(words[0]))] {
		next := slices.IndexFunc(words, func(w *syntax.Word) bool { return tools[path.Base(literal(w))] })
		if next < 0 {
			break
		}
		words = words[next:]
	}
	if len(words) == 0 {
		s.inside(c)
		return nil
	}
	args := make([]string, len(words)-1)
	for i, w := range words[1:] {
		args[i] = literal(w)
	}
	switch path.Base(literal(words[0])) {
	case "kubectl", "oc":
		s.apply(args, words[1:], in)
	case "envsubst":
		return in
	case "cat":
		var out []*stream
		named := false
		for _, arg := range args {
			if !strings.HasPrefix(arg, "-") {
				named = true
				out = append(out, s.files[path.Clean(arg)]...)
			}
		}
		if named {
			return out
		}
		return in
	case "tee":
		more := slices.Contains(args, "-a") || slices.Contains(args, "--append")
		for _, arg := range args {
			if !strings.HasPrefix(arg, "-") {
				s.write(arg, in, more)
			}
		}
		return in
	case "echo":
		if len(args) == 1 || len(args) == 2 && args[0] == "-n" {
			return s.quoted(words[len(words)-1])
		}
	default:
		s.inside(c)
	}
	return nil
}
