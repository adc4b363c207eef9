// Package human writes values as people read them: sizes, times, counts, and text that is harmless on a terminal. It reads sizes, too.
package human

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"
)

// Safe makes text harmless on a terminal: what is not printable, and so could move the cursor or turn the writing
// around, is shown as an escape.
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

func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// CountAre counts things in the beginning of a sentence.
func CountAre(n int, thing string) string {
	if n == 1 {
		return Count(n, thing) + " is"
	}
	return Count(n, thing) + " are"
}

// Wrap breaks text between words, so that its lines fit the width and all but the first, before which something stands, are
// indented.
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

func YesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
