package extract

import (
	"bytes"
	"fmt"
	"strings"
	"sync"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/isolation-stack/labctl/pkg/docs"
)

// blocks takes the examples and comments of the document. Only its blocks are
// parsed by goldmark: of what stands inside paragraphs comments alone matter,
// and they are found in linear time by scan.
func (d *document) blocks() {
	nesting := &nesting{}
	root := d.parser(nesting).Parse(text.NewReader(d.source.text))
	marked := bytes.Contains(d.source.text, []byte(markPrefix))
	var heading []byte
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			heading = d.inside(n)
			if n.Lines().Len() > 0 {
				d.headings = append(d.headings, d.source.at(n.Lines().At(0).Start))
			}
			if marked {
				d.scan(n)
			}
		case *ast.FencedCodeBlock:
			d.fence(n, heading)
		case *ast.CodeBlock:
			d.indented(n, heading)
		case *ast.HTMLBlock:
			if marked && n.HTMLBlockType != ast.HTMLBlockType1 { // <pre>, <script>: code
				d.scan(n)
			}
		case *ast.Paragraph, *ast.TextBlock:
			if marked {
				d.scan(n)
			}
		}
		return ast.WalkContinue, nil
	})
	if nesting.refused > 0 {
		d.find(tooLarge, d.source.at(nesting.refused-1), fmt.Sprintf(
			"Lists and quotes are nested more than %d deep here, or too many lines are nested; what is deeper is read as text.", maxDepth))
	}
}

// parser gives one of CommonMark's blocks without link definitions, in which
// nothing of interest can stand; for MDX without indented code and HTML, which
// that doesn't have (https://mdxjs.com/docs/what-is-mdx/#markdown).
func (d *document) parser(n *nesting) parser.Parser {
	blocks := []util.PrioritizedValue{
		util.Prioritized(parser.NewSetextHeadingParser(), 100),
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(container{parser.NewListParser(), n}, 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(container{parser.NewBlockquoteParser(), n}, 800),
	}
	fence, paragraph := fenceParser{parser.NewFencedCodeBlockParser()}, parser.NewParagraphParser()
	if d.mdx {
		blocks = append(blocks,
			util.Prioritized(mdxFence{fence}, 700),
			util.Prioritized(anyIndent{paragraph}, 1000))
	} else {
		blocks = append(blocks,
			util.Prioritized(container{admonition{}, n}, 450),
			util.Prioritized(parser.NewCodeBlockParser(), 500),
			util.Prioritized(fence, 700),
			util.Prioritized(parser.NewHTMLBlockParser(), 900),
			util.Prioritized(paragraph, 1000))
	}
	return parser.NewParser(parser.WithBlockParsers(blocks...))
}

func (d *document) fence(n *ast.FencedCodeBlock, heading []byte) {
	open := attribute(n, openAttribute)
	e := docs.Example{Position: d.source.at(open), Origin: docs.Fenced}
	if n.Info != nil {
		e.Language = language(string(n.Info.Segment.Value(d.source.text)))
	}
	e.EndLine = e.Line
	d.content(&e, n)
	if end := attribute(n, closeAttribute); end >= 0 {
		e.EndLine = d.source.at(end).Line
	} else {
		d.findIn(&e, unclosedFence, e.Position, "The code block that opens here isn't closed; all text up to the end of the "+containerName(n)+" belongs to it.")
	}
	if e.Text != "" {
		e.Heading = d.plain(heading)
		d.add(e)
	}
}

func (d *document) indented(n *ast.CodeBlock, heading []byte) {
	e := docs.Example{Origin: docs.Indented}
	d.content(&e, n)
	if e.Text == "" {
		return
	}
	e.Position = e.Lines[0]
	e.Heading = d.plain(heading)
	d.add(e)
}

// content sets text, lines, last line and sum of an example.
func (d *document) content(e *docs.Example, n ast.Node) {
	var b strings.Builder
	lines := n.Lines()
	for i := range lines.Len() {
		segment := lines.At(i)
		at := d.source.at(segment.Start)
		// A tab that belongs to the container in part stands as blanks in
		// Text; columns are right from the first character after it.
		at.Column = max(at.Column-segment.Padding, 1)
		e.Lines = append(e.Lines, at)
		e.EndLine = at.Line
		b.Write(bytes.TrimRight(segment.Value(d.source.text), "\r\n"))
		b.WriteByte('\n')
	}
	e.Text = b.String()
	e.SHA256 = docs.Sum(e.Text)
}

// add adds an example, unless there are too many.
func (d *document) add(e docs.Example) {
	if len(d.Examples) == MaxExamples {
		if !d.full {
			d.find(tooLarge, e.Position, fmt.Sprintf("The document has more than %d examples; from here on they aren't looked at.", MaxExamples))
		}
		d.full = true
		return
	}
	d.Examples = append(d.Examples, e)
}

// language is the first word of an info string: "yaml" of "YAML title=x",
// "yaml{1,3}", "{.yaml}" and "yaml:path/to.yaml".
func language(info string) string {
	info = strings.TrimLeft(info, "{. \t")
	if i := strings.IndexAny(info, " \t{}[(,:;="); i >= 0 {
		info = info[:i]
	}
	return strings.ToLower(info)
}

func containerName(n ast.Node) string {
	switch n.Parent().(type) {
	case *ast.ListItem:
		return "list item"
	case *ast.Blockquote:
		return "quote"
	case *admonitionNode:
		return "admonition"
	}
	return "document"
}

// inside is the raw text of a block, without the prefixes of its containers.
func (d *document) inside(n ast.Node) []byte {
	return n.Lines().Value(d.source.text)
}

// maxHeading is the length in bytes above which a heading's text is kept raw.
const maxHeading = 512

// inline parses what stands inside a heading.
var inline = sync.OnceValue(func() parser.Parser {
	return parser.NewParser(
		parser.WithBlockParsers(util.Prioritized(parser.NewParagraphParser(), 1)),
		parser.WithInlineParsers(parser.DefaultInlineParsers()...),
	)
})

// plain is the text of a heading without its markup. The last one is kept,
// because many examples may stand below it.
func (d *document) plain(heading []byte) string {
	raw := bytes.TrimSpace(heading)
	if bytes.Equal(raw, d.heading.raw) {
		return d.heading.text
	}
	d.heading.raw = raw
	if len(raw) > maxHeading {
		d.heading.text = strings.ToValidUTF8(string(raw[:maxHeading]), "") + "…"
		return d.heading.text
	}
	var b strings.Builder
	_ = ast.Walk(inline().Parse(text.NewReader(raw)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(util.UnescapePunctuations(n.Value(raw)))
			if n.SoftLineBreak() || n.HardLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.AutoLink:
			b.Write(n.Label(raw))
		}
		return ast.WalkContinue, nil
	})
	d.heading.text = strings.TrimSpace(b.String())
	return d.heading.text
}
