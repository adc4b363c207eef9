package output

import (
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
)

// A Column of a table.
type Column struct {
	Title string

	// Rank 0 is always shown. If the terminal is too narrow, columns are left out, the highest rank first. Only then are cells
	// shortened: ids, which the user copies, stay whole.
	Rank int

	Most int // cells, if the terminal is too narrow; 0 is no limit
}

const (
	gap       = 2  // blanks between columns
	narrowest = 6  // cells that each column keeps
	NameWidth = 20 // cells for the name of a VM, if there is little room
)

// Table prints a heading and rows that fit the width.
func (p *Printer) Table(columns []Column, rows [][]string) {
	for _, row := range rows {
		for i := range row {
			row[i] = human.Safe(row[i])
		}
	}
	if p.Width > 0 {
		columns, rows = fit(columns, rows, p.Width)
	}
	t := table.NewWriter()
	t.SetStyle(plainStyle)
	t.AppendHeader(cells(titles(columns), strings.ToUpper))
	for _, row := range rows {
		t.AppendRow(cells(row, p.paint))
	}
	t.SuppressTrailingSpaces()
	p.buf.WriteString(t.Render() + "\n")
}

// plainStyle separates columns by blanks and draws no lines, so that awk can read it.
var plainStyle = table.Style{
	Name: "plain",
	Box:  table.BoxStyle{MiddleVertical: strings.Repeat(" ", gap)},
	Options: table.Options{
		SeparateColumns: true,
	},
	Format: table.FormatOptions{Header: text.FormatDefault},
}

func titles(columns []Column) []string {
	var list []string
	for _, c := range columns {
		list = append(list, c.Title)
	}
	return list
}

func cells(row []string, f func(string) string) table.Row {
	var r table.Row
	for _, cell := range row {
		r = append(r, f(cell))
	}
	return r
}

// fit makes the table fit the width: it shortens names, then leaves out columns, then cuts the widest cells.
func fit(columns []Column, rows [][]string, width int) ([]Column, [][]string) {
	if sum(widths(columns, rows)) > width {
		for i, c := range columns {
			cut(rows, i, c.Most)
		}
	}
	for sum(widths(columns, rows)) > width {
		last := 0
		for i, c := range columns {
			if i > 0 && c.Rank > 0 && (last == 0 || c.Rank >= columns[last].Rank) {
				last = i
			}
		}
		if last == 0 { // the first column stays
			break
		}
		columns, rows = without(columns, rows, last)
	}
	return squeeze(columns, rows, width), rows
}

// widths are the widths of the columns, each but the first with the gap before it.
func widths(columns []Column, rows [][]string) []int {
	list := make([]int, len(columns))
	for i, c := range columns {
		list[i] = text.StringWidthWithoutEscSequences(c.Title)
		for _, row := range rows {
			list[i] = max(list[i], text.StringWidthWithoutEscSequences(row[i]))
		}
		if i > 0 {
			list[i] += gap
		}
	}
	return list
}

func sum(list []int) (total int) {
	for _, n := range list {
		total += n
	}
	return total
}

func without(columns []Column, rows [][]string, i int) ([]Column, [][]string) {
	columns = append(columns[:i:i], columns[i+1:]...)
	shorter := make([][]string, len(rows))
	for n, row := range rows {
		shorter[n] = append(row[:i:i], row[i+1:]...)
	}
	return columns, shorter
}

// squeeze shortens cells, the widest column first, until a row fits the width. It returns the columns with titles that fit.
func squeeze(columns []Column, rows [][]string, width int) []Column {
	list := widths(columns, rows)
	for total := sum(list); total > width; total-- {
		widest := 0
		for i := range list {
			if list[i] > list[widest] {
				widest = i
			}
		}
		if list[widest] <= narrowest+gap {
			break
		}
		list[widest]--
	}
	columns = append([]Column(nil), columns...)
	for i := range columns {
		room := list[i]
		if i > 0 {
			room -= gap
		}
		columns[i].Title = text.Snip(columns[i].Title, room, "…")
		cut(rows, i, room)
	}
	return columns
}

// cut shortens the cells of a column; most 0 is no limit.
func cut(rows [][]string, i, most int) {
	for _, row := range rows {
		if most > 0 && text.StringWidthWithoutEscSequences(row[i]) > most {
			row[i] = text.Snip(row[i], most, "…")
		}
	}
}
