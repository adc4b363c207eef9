// Package human formats values for people: sizes, times, counts, and text that is safe on a terminal. It also parses sizes.
package human

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Safe makes text safe on a terminal. Characters that are not printable could move the cursor or reverse the text; they are
// shown as escapes.
func Safe(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if strconv.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteToASCII(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// Count counts things: "1 file", "2 files", "2 directories".
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "ry"); ok {
		return fmt.Sprintf("%d %sries", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// CountAre counts things as the subject of a sentence: "1 file is", "2 files are".
func CountAre(n int, thing string) string {
	if n == 1 {
		return Count(n, thing) + " is"
	}
	return Count(n, thing) + " are"
}

// FirstOf lists the first names: "a, b and 7 more".
func FirstOf(list []string) string {
	const most = 20
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// Wrap breaks text between words, so that its lines fit the width. All lines but the first are indented: something is printed
// before the first.
func Wrap(s string, width, indent int) string {
	if width < indent+20 || indent+text.StringWidthWithoutEscSequences(s) <= width {
		return s
	}
	lines := strings.Split(strings.TrimRight(text.WrapSoft(s, width-indent), " "), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n"+strings.Repeat(" ", indent))
}

// YesNo is a boolean as a word.
func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
