// Package output prints what commands answer: as JSON, as pairs of a name and a value, and as tables that fit the terminal.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
)

func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// A Printer writes for people: pairs of a name and a value, and tables that fit the terminal.
type Printer struct {
	buf        bytes.Buffer
	Width      int // of a table in cells; 0: nothing is cut
	ProseWidth int // of text, which is broken between words; 0: nothing is broken
	Color      bool
	Note       string // about what is printed, and no part of it
}

// New makes a printer for a writer; a wide one cuts nothing.
func New(w io.Writer, wide bool, colour string) *Printer {
	p := &Printer{Width: terminal.Width(w), Color: terminal.WantsColor(colour, w)}
	if wide {
		p.Width = 0
	}
	if p.Width > 0 {
		p.ProseWidth = terminal.ProseWidth(w)
	}
	return p
}

// Text is what was printed.
func (p *Printer) Text() string { return p.buf.String() }

func (p *Printer) Line(format string, args ...any) {
	p.buf.WriteString(human.Safe(fmt.Sprintf(format, args...)) + "\n")
}

// Prose prints a sentence, which is broken between words on a terminal.
func (p *Printer) Prose(format string, args ...any) {
	p.buf.WriteString(human.Wrap(human.Safe(fmt.Sprintf(format, args...)), p.ProseWidth, 0) + "\n")
}

// More tells of a next page.
func (p *Printer) More(cursor string) {
	if cursor != "" {
		p.Note = "there are more: --cursor " + human.Safe(cursor)
	}
}

// None tells of a list with nothing in it: a heading alone looks like something that went wrong.
func (p *Printer) None(rows int, what string) {
	if rows == 0 {
		p.Note = what
	}
}

// Labeled prints a line behind a word, which is coloured if it is one that stands for how things are.
func (p *Printer) Labeled(word, format string, args ...any) {
	p.buf.WriteString(p.paint(word) + " ")
	p.Line(format, args...)
}

// Pairs prints names and values, one pair a line, and leaves out pairs without a value.
func (p *Printer) Pairs(pairs ...string) {
	widest := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			widest = max(widest, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			value := human.Wrap(human.Safe(pairs[i+1]), p.ProseWidth, widest+3)
			fmt.Fprintf(&p.buf, "%-*s  %s\n", widest+1, pairs[i]+":", p.paint(value))
		}
	}
}

// colors of the words that stand for how things are.
var colors = map[string]string{
	"completed": "32", "usable": "32", "added": "32",
	"ok     ": "32", "warning": "33", "error  ": "31",
	"failed": "31", "undoing": "31", "deleting": "31", "refused": "31",
	"unresolved": "33", "cancelled": "33", "queued": "33",
	"running": "36", "preparing": "36", "exporting": "36", "calling": "36", "finishing": "36",
}

func (p *Printer) paint(cell string) string {
	if code, ok := colors[cell]; ok && p.Color {
		return "\x1b[" + code + "m" + cell + "\x1b[0m"
	}
	return cell
}
