// Package terminal knows what a terminal is: its size, whether it can be drawn on, whether it is colored, and that it is not to show what is
// typed.
package terminal

import (
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const unknownWidth = 80 // of a terminal that does not know

// ColorWords are the values of --color.
var ColorWords = []string{"auto", "always", "never"}

// Size is that of the terminal that w is, in cells; zero when it is none.
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

// Width is what a line may be long: COLUMNS where somebody exports it, else the terminal's width; 0 is as long as it
// wants to be.
func Width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	columns, _ := Size(w)
	return columns
}

// ProseWidth is the width at which text is broken between words: on terminals only, as elsewhere somebody may search it.
func ProseWidth(w io.Writer) int {
	if !Is(w) {
		return 0
	}
	return Width(w)
}

func Is(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// CanDraw says whether w is a terminal on which lines can be drawn over.
func CanDraw(w io.Writer) bool { return Is(w) && os.Getenv("TERM") != "dumb" }

// WantsColor says whether what goes to w is coloured. Where nobody said, NO_COLOR is heard: https://no-color.org
func WantsColor(word string, w io.Writer) bool {
	switch word {
	case "always":
		return true
	case "never":
		return false
	}
	return CanDraw(w) && os.Getenv("NO_COLOR") == ""
}
