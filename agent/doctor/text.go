package doctor

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// marks show a status on a terminal.
var marks = map[Status]struct{ sign, color string }{
	OK: {"✓", "32"}, Warning: {"!", "33"}, Error: {"✗", "31"}, Skipped: {"-", "2"},
}

// Print writes the report for people: with signs on a terminal, in color if asked for, and in words elsewhere.
func (r Report) Print(w io.Writer, terminal, color bool) error {
	var b strings.Builder
	for _, f := range r.Findings {
		mark := fmt.Sprintf("%-7s", f.Status)
		if terminal {
			mark = marks[f.Status].sign
		}
		if color {
			mark = "\x1b[" + marks[f.Status].color + "m" + mark + "\x1b[0m"
		}
		subject := f.Check
		if f.Object != "" {
			subject += " " + f.Object
		}
		fmt.Fprintf(&b, "%s %s: %s\n", mark, oneLine(subject), oneLine(f.Message))
		if f.Hint != "" {
			fmt.Fprintf(&b, "    → %s\n", oneLine(f.Hint))
		}
		for line := range strings.SplitSeq(f.Facts["journal"], "\n") {
			if line != "" {
				fmt.Fprintf(&b, "    | %s\n", oneLine(line))
			}
		}
	}
	fmt.Fprintf(&b, "\n%s, %s\n", count(r.Errors, "error"), count(r.Warnings, "warning"))
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine removes control characters from texts of files and programs.
func oneLine(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return ' '
		case unicode.IsControl(c) || c == unicode.ReplacementChar:
			return '?'
		}
		return c
	}, text)
}
