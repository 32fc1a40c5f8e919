package report

import (
	"bytes"
	"strings"

	"github.com/mattn/go-runewidth"
)

// cells measures text in terminal cells; Chinese takes two each. Characters
// of ambiguous width are narrow, as terminals have them by default (UAX #11).
var cells = &runewidth.Condition{EastAsianWidth: false}

// gap is between columns, as kubectl has it.
const gap = "   "

// grid is a table of text.
type grid struct {
	header []string
	rows   [][]string
	// style gives the SGR code of a cell, "" for none; may be nil.
	style func(row, column int) string
}

func (g *grid) row(cells ...string) { g.rows = append(g.rows, cells) }

func (g *grid) write(b *bytes.Buffer) {
	widths := make([]int, len(g.header))
	for _, row := range append([][]string{g.header}, g.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], cells.StringWidth(cell))
		}
	}
	g.line(b, g.header, widths, func(int) string { return "" })
	for r, row := range g.rows {
		g.line(b, row, widths, func(column int) string {
			if g.style == nil {
				return ""
			}
			return g.style(r, column)
		})
	}
}

func (g *grid) line(b *bytes.Buffer, row []string, widths []int, style func(int) string) {
	last := len(row) - 1
	for last > 0 && row[last] == "" {
		last--
	}
	for i, cell := range row[:last+1] {
		text := cell
		if code := style(i); code != "" {
			text = "\x1b[" + code + "m" + cell + "\x1b[0m"
		}
		b.WriteString(text)
		if i < last {
			b.WriteString(strings.Repeat(" ", widths[i]-cells.StringWidth(cell)))
			b.WriteString(gap)
		}
	}
	b.WriteByte('\n')
}

// oneLine keeps control characters of evidence off the terminal and out of
// the table's shape.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return ' '
		}
		return r
	}, strings.Join(strings.Fields(s), " "))
}

// short cuts text to a width in cells.
func short(s string, width int) string {
	return cells.Truncate(oneLine(s), width, "…")
}
