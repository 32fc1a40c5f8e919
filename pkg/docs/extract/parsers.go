package extract

import (
	"bytes"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// maxDepth is how deep lists, quotes and admonitions may be nested. maxNested
// is how many lines times their depth may be: goldmark takes some time and
// memory for each of them, even when the line is blank.
const (
	maxDepth  = 64
	maxNested = 1_000_000
)

// nesting is what the containers of a document have taken.
type nesting struct {
	lines int
	// refused is the offset, plus one, of the first container that wasn't
	// taken as one.
	refused int
}

// container is a parser of container blocks that keeps to the limits. Items of
// lists are no such: goldmark relies on a list to have one.
type container struct {
	parser.BlockParser
	*nesting
}

func (c container) Open(parent ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	if c.lines > maxNested || len(pc.OpenedBlocks()) > maxDepth {
		if c.refused == 0 {
			_, at := reader.Position()
			c.refused = at.Start + 1
		}
		return nil, parser.NoChildren
	}
	return c.BlockParser.Open(parent, reader, pc)
}

func (c container) Continue(n ast.Node, reader text.Reader, pc parser.Context) parser.State {
	if c.lines++; c.lines > maxNested {
		return parser.Close
	}
	return c.BlockParser.Continue(n, reader, pc)
}

// The attributes of a fenced block: the offsets of its fences, the bytes of
// indentation before the opening one, and its length. A block whose container
// ends before it has no closing fence.
const (
	openAttribute   = "open"
	closeAttribute  = "close"
	indentAttribute = "indent"
	signsAttribute  = "signs"
)

// fenceParser notes where fences stand, which goldmark doesn't keep.
type fenceParser struct{ parser.BlockParser }

func (p fenceParser) Open(parent ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, segment := reader.PeekLine()
	n, state := p.BlockParser.Open(parent, reader, pc)
	if n != nil {
		indent := bytes.IndexAny(line, "`~")
		n.SetAttributeString(openAttribute, segment.Start-segment.Padding+indent)
		n.SetAttributeString(indentAttribute, indent)
		n.SetAttributeString(signsAttribute, len(line)-indent-len(bytes.TrimLeft(line[indent:], string(line[indent:indent+1]))))
	}
	return n, state
}

func (p fenceParser) Continue(n ast.Node, reader text.Reader, pc parser.Context) parser.State {
	_, segment := reader.PeekLine()
	state := p.BlockParser.Continue(n, reader, pc)
	if state == parser.Close {
		n.SetAttributeString(closeAttribute, segment.Start)
	}
	return state
}

// attribute is what fenceParser noted, -1 if there is none.
func attribute(n ast.Node, name string) int {
	if v, ok := n.AttributeString(name); ok {
		return v.(int)
	}
	return -1
}

// anyIndent is a parser whose blocks may be indented by more than three, as in
// MDX.
type anyIndent struct{ parser.BlockParser }

func (anyIndent) CanAcceptIndentedLine() bool { return true }

// mdxFence is the parser of fences of MDX: both may be indented by any width.
type mdxFence struct{ fenceParser }

func (mdxFence) CanAcceptIndentedLine() bool { return true }

func (p mdxFence) Continue(n ast.Node, reader text.Reader, pc parser.Context) parser.State {
	line, segment := reader.PeekLine()
	open := attribute(n, openAttribute)
	sign := string(reader.Source()[open : open+1])
	end := bytes.TrimSpace(line)
	if len(end) >= attribute(n, signsAttribute) && len(bytes.Trim(end, sign)) == 0 {
		n.SetAttributeString(closeAttribute, segment.Start)
		reader.AdvanceToEOL()
		return parser.Close
	}
	if segment.Padding > 0 {
		return p.fenceParser.Continue(n, reader, pc)
	}
	// Goldmark takes the fence's indentation for blanks; here it may be tabs.
	blanks := len(line) - len(bytes.TrimLeft(line, " \t"))
	segment.Start += min(blanks, attribute(n, indentAttribute))
	segment.ForceNewline = true
	n.Lines().Append(segment)
	reader.AdvanceToEOL()
	return parser.Continue | parser.NoChildren
}

// admonition is a container of Python-Markdown, which MkDocs uses: a line such
// as `!!! note "Title"`, `??? tip` or `=== "Tab"`, and what is indented by
// four below it. CommonMark would take the fences inside for text.
type admonition struct{}

type admonitionNode struct{ ast.BaseBlock }

var kindAdmonition = ast.NewNodeKind("Admonition")

func (*admonitionNode) Kind() ast.NodeKind { return kindAdmonition }

func (n *admonitionNode) Dump(source []byte, level int) { ast.DumpHelper(n, source, level, nil, nil) }

func (admonition) Trigger() []byte { return []byte("!?=") }

func (admonition) Open(_ ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	line, _ := reader.PeekLine()
	line = line[pc.BlockOffset():]
	after := bytes.TrimLeft(line, string(line[:1])+"+!")
	switch sign := line[:len(line)-len(after)]; string(sign) {
	case "!!!", "???", "???+":
	case "===", "===+", "===!":
		if !bytes.HasPrefix(bytes.TrimLeft(after, " "), []byte{'"'}) {
			return nil, parser.NoChildren
		}
	default:
		return nil, parser.NoChildren
	}
	if !bytes.HasPrefix(after, []byte{' '}) || util.IsBlank(after) {
		return nil, parser.NoChildren
	}
	reader.AdvanceToEOL()
	return &admonitionNode{}, parser.HasChildren
}

func (admonition) Continue(_ ast.Node, reader text.Reader, _ parser.Context) parser.State {
	line, segment := reader.PeekLine()
	if util.IsBlank(line) {
		reader.AdvanceToEOL()
		return parser.Continue | parser.HasChildren
	}
	pos, padding := util.IndentPositionPadding(line, reader.LineOffset(), segment.Padding, 4)
	if pos < 0 {
		return parser.Close
	}
	reader.AdvanceAndSetPadding(pos, padding)
	return parser.Continue | parser.HasChildren
}

func (admonition) Close(ast.Node, text.Reader, parser.Context) {}

func (admonition) CanInterruptParagraph() bool { return true }

func (admonition) CanAcceptIndentedLine() bool { return false }
