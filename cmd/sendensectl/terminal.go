package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

const unknownWidth = 80 // of a terminal that does not know

// colourWords are the values of --color.
var colourWords = []string{"auto", "always", "never"}

// size is that of the terminal that w is, in cells; zero when it is none.
func size(w io.Writer) (columns, rows int) {
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

// width is what a line may be long: COLUMNS where somebody exports it, else the terminal's width; 0 is as long as it
// wants to be.
func width(w io.Writer) int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	columns, _ := size(w)
	return columns
}

// proseWidth is the width at which text is broken between words: on terminals only, as elsewhere somebody may search it.
func proseWidth(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	return width(w)
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// canDraw says whether w is a terminal on which lines can be drawn over.
func canDraw(w io.Writer) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }

// wantsColour says whether what goes to w is coloured. Where nobody said, NO_COLOR is heard: https://no-color.org
func wantsColour(word string, w io.Writer) bool {
	switch word {
	case "always":
		return true
	case "never":
		return false
	}
	return canDraw(w) && os.Getenv("NO_COLOR") == ""
}

func checkWord(flag, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("--%s %s: want %s", flag, word, either(words))
}

// either lists words as a choice.
func either(words []string) string {
	text := words[0]
	for i, word := range words[1:] {
		if i == len(words)-2 {
			text += " or " + word
		} else {
			text += ", " + word
		}
	}
	return text
}
