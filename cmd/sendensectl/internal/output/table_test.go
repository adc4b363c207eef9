package output

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"pgregory.net/rapid"
)

func TestTablesFitTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 8).Draw(t, "columns")
		cell := rapid.OneOf(rapid.String(), rapid.StringN(0, 300, -1), rapid.Just("completed"))
		var head []Column
		for range columns {
			head = append(head, Column{
				Title: rapid.StringMatching(`[a-z]{1,9}`).Draw(t, "title"), Rank: rapid.IntRange(0, 3).Draw(t, "rank"), Most: rapid.SampledFrom([]int{0, 20}).Draw(t, "most"),
			})
		}
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 4).Draw(t, "rows")
		width := rapid.IntRange(columns*(9+gap), 200).Draw(t, "width")
		p := &Printer{Width: width, Color: true}
		p.Table(head, rows)
		lines := strings.Split(strings.TrimSuffix(p.Text(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), len(rows), p.Text())
		}
		for _, line := range lines {
			if got := text.StringWidthWithoutEscSequences(line); got > width {
				t.Fatalf("%d cells wide, the terminal has %d: %q", got, width, line)
			}
		}
	})
}

func TestColoursOnlyWhereWanted(t *testing.T) {
	var p Printer
	p.Pairs("state", "failed", "empty", "")
	if got := p.Text(); got != "state:  failed\n" {
		t.Errorf("got %q", got)
	}
	p = Printer{Color: true}
	p.Table([]Column{{Title: "state"}}, [][]string{{"failed"}})
	if got := p.Text(); got != "STATE\n\x1b[31mfailed\x1b[0m\n" {
		t.Errorf("got %q", got)
	}
}
