// Package terminal knows the terminal: its size, whether it can draw and use colors. It can switch off the echo.
package terminal

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const unknownWidth = 80 // of a terminal that reports none

// ColorWords are the values of --color.
var ColorWords = []string{"auto", "always", "never"}

// Size is the size of the terminal w, in cells; zero if w is not a terminal.
func Size(w io.Writer) (columns, rows int) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, 0
	}
	s, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0, 0
	case s.Col == 0 || s.Row == 0:
		return unknownWidth, 24
	}
	return int(s.Col), int(s.Row)
}

// Width is the maximum length of a line: COLUMNS if it is set, else the width of the terminal; 0 is no limit.
func Width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	columns, _ := Size(w)
	return columns
}

// ProseWidth is the width at which sentences are broken: on terminals only, so that files and pipes can be searched.
func ProseWidth(w io.Writer) int {
	if !Is(w) {
		return 0
	}
	return Width(w)
}

// Is reports whether v is a terminal.
func Is(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// CanDraw reports whether w is a terminal on which lines can be redrawn.
func CanDraw(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" }

// WantsColor reports whether output to w is in color. With "auto", NO_COLOR is respected: https://no-color.org
func WantsColor(word string, w io.Writer) bool {
	switch word {
	case "always":
		return true
	case "never":
		return false
	}
	return CanDraw(w) && os.Getenv("NO_COLOR") == ""
}
