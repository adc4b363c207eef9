package main

import (
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/text"
	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "512": 512, "40GiB": 40 << 30, "40G": 40 << 30, "40 gib": 40 << 30, "1.5T": 3 << 39, "500GB": 500e9, "1KiB": 1024, "0.5k": 512,
		"64TiB": 1 << 46, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "G", "-1", "-1G", "1e3", "0x10", "1.0000001k", "40GiBs", "NaN", "Inf", "9223372036854775808", "99999999TiB", "1_0", "1 2"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", in, got)
		}
	}
	for want, in := range map[string]uint64{"0 B": 0, "1023 B": 1023, "1 KiB": 1024, "1.5 GiB": 3 << 29, "40 GiB": 40 << 30, "16 EiB": 1<<64 - 1} {
		if got := humanSize(in); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain text": "plain text", "böse 日本": "böse 日本", "a\x1b[2Jb": `a\x1b[2Jb`, "a\r\n\tb": `a\r\n\tb`, "\xff": `\xff`,
		"\u202egnp.exe": `\u202egnp.exe`, "\u009b1m": `\u009b1m`, "\ufffd": "\ufffd",
	} {
		if got := safe(in); got != want {
			t.Errorf("safe(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTablesFitTheTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 8).Draw(t, "columns")
		cell := rapid.OneOf(rapid.String(), rapid.StringN(0, 300, -1), rapid.Just("completed"))
		head := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,9}`), columns, columns).Draw(t, "head")
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 4).Draw(t, "rows")
		width := rapid.IntRange(columns*(9+gap), 200).Draw(t, "width")
		p := &printer{width: width, colour: true}
		p.table(head, rows)
		lines := strings.Split(strings.TrimSuffix(p.buf.String(), "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), len(rows), p.buf.String())
		}
		for _, line := range lines {
			if got := text.StringWidthWithoutEscSequences(line); got > width {
				t.Fatalf("%d cells wide, the terminal has %d: %q", got, width, line)
			}
		}
	})
}

func TestColoursOnlyWhereWanted(t *testing.T) {
	var p printer
	p.pairs("state", "failed", "empty", "")
	if got := p.buf.String(); got != "state:  failed\n" {
		t.Errorf("got %q", got)
	}
	p = printer{colour: true}
	p.table([]string{"state"}, [][]string{{"failed"}})
	if got := p.buf.String(); got != "STATE\n\x1b[31mfailed\x1b[0m\n" {
		t.Errorf("got %q", got)
	}
}
