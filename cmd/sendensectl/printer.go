package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/sys/unix"
)

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// A printer writes for people: pairs of a name and a value, and tables that fit the terminal.
type printer struct {
	w      io.Writer
	buf    bytes.Buffer
	width  int // of the terminal in cells; 0: no terminal, so nothing is cut
	colour bool
}

func newPrinter(w io.Writer) *printer {
	p := &printer{w: w, width: terminalWidth(w)}
	_, off := os.LookupEnv("NO_COLOR")
	p.colour = p.width > 0 && !off && os.Getenv("TERM") != "dumb"
	return p
}

// terminalWidth is the width of the terminal that w is; 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Col == 0: // a terminal that does not know
		return 80
	}
	return int(size.Col)
}

func (p *printer) flush() error {
	_, err := p.w.Write(p.buf.Bytes())
	return err
}

func (p *printer) line(format string, args ...any) {
	p.buf.WriteString(safe(fmt.Sprintf(format, args...)) + "\n")
}

// pairs prints names and values, one pair a line, and leaves out pairs without a value.
func (p *printer) pairs(pairs ...string) {
	widest := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			widest = max(widest, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(&p.buf, "%-*s  %s\n", widest+1, pairs[i]+":", p.paint(safe(pairs[i+1])))
		}
	}
}

// table prints rows under a heading. The widest columns give way when they do not all fit.
func (p *printer) table(head []string, rows [][]string) {
	for _, row := range rows {
		for i := range row {
			row[i] = safe(row[i])
		}
	}
	if p.width > 0 {
		fit(head, rows, p.width)
	}
	t := table.NewWriter()
	t.SetStyle(plainStyle)
	t.AppendHeader(cells(head, strings.ToUpper))
	for _, row := range rows {
		t.AppendRow(cells(row, p.paint))
	}
	t.SuppressTrailingSpaces()
	p.buf.WriteString(t.Render() + "\n")
}

// roomyTable is a table whose columns from the keep-th on are left out where the terminal is too narrow for them, the last
// ones first, before any is shortened: what stands at the front is to be copied whole.
func (p *printer) roomyTable(keep int, head []string, rows [][]string) {
	for p.width > 0 && len(head) > keep && tableWidth(head, rows) > p.width {
		head = head[:len(head)-1]
		for i := range rows {
			rows[i] = rows[i][:len(head)]
		}
	}
	p.table(head, rows)
}

// clip shortens the cells of a column on a terminal.
func (p *printer) clip(rows [][]string, column, width int) {
	for _, row := range rows {
		if p.width > 0 {
			row[column] = text.Snip(safe(row[column]), width, "…")
		}
	}
}

func tableWidth(head []string, rows [][]string) int {
	total := gap * (len(head) - 1)
	for i := range head {
		widest := text.StringWidthWithoutEscSequences(head[i])
		for _, row := range rows {
			widest = max(widest, text.StringWidthWithoutEscSequences(safe(row[i])))
		}
		total += widest
	}
	return total
}

const gap = 2 // blanks between columns

// plainStyle has columns apart by blanks and no lines, so that what is cut out with awk is what was meant.
var plainStyle = table.Style{
	Name: "plain",
	Box:  table.BoxStyle{MiddleVertical: strings.Repeat(" ", gap)},
	Options: table.Options{
		SeparateColumns: true,
	},
	Format: table.FormatOptions{Header: text.FormatDefault},
}

func cells(row []string, f func(string) string) table.Row {
	var r table.Row
	for _, cell := range row {
		r = append(r, f(cell))
	}
	return r
}

const narrowest = 6 // cells that a column keeps however narrow the terminal

// fit shortens cells, those of the widest column first, until a row fits the width.
func fit(head []string, rows [][]string, width int) {
	widths := make([]int, len(head))
	total := gap * (len(head) - 1)
	for i := range head {
		widths[i] = text.StringWidthWithoutEscSequences(head[i])
		for _, row := range rows {
			widths[i] = max(widths[i], text.StringWidthWithoutEscSequences(row[i]))
		}
		total += widths[i]
	}
	for ; total > width; total-- {
		widest := 0
		for i := range widths {
			if widths[i] > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= narrowest {
			break
		}
		widths[widest]--
	}
	for _, row := range append(rows, head) {
		for i := range row {
			if text.StringWidthWithoutEscSequences(row[i]) > widths[i] {
				row[i] = text.Snip(row[i], widths[i], "…")
			}
		}
	}
}

// colours of the words that stand for how things are.
var colours = map[string]string{
	"completed": "32", "usable": "32",
	"failed": "31", "cancelled": "31", "undoing": "31",
	"unresolved": "33",
}

func (p *printer) paint(cell string) string {
	if code, ok := colours[cell]; ok && p.colour {
		return "\x1b[" + code + "m" + cell + "\x1b[0m"
	}
	return cell
}
