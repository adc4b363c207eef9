// Package output prints the answers of commands: as JSON, as pairs of a name and a value, and as tables that fit the terminal.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/sendense/backup-agent/cmd/sendensectl/internal/human"
	"github.com/sendense/backup-agent/cmd/sendensectl/internal/terminal"
)

// JSON writes a value as indented JSON.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// A Printer collects output for people.
type Printer struct {
	buf        bytes.Buffer
	Width      int // of a table, in cells; 0 is no limit
	ProseWidth int // of sentences, which are broken between words; 0 is no limit
	Color      bool
	Note       string // about the output; goes to the standard error
}

// New makes a printer for a writer. A wide one has no limit of width.
func New(w io.Writer, wide bool, color string) *Printer {
	p := &Printer{Width: terminal.Width(w), Color: terminal.WantsColor(color, w)}
	if wide {
		p.Width = 0
	}
	if p.Width > 0 {
		p.ProseWidth = terminal.ProseWidth(w)
	}
	return p
}

// Text is the collected output.
func (p *Printer) Text() string { return p.buf.String() }

// Line prints one line.
func (p *Printer) Line(format string, args ...any) {
	p.buf.WriteString(human.Safe(fmt.Sprintf(format, args...)) + "\n")
}

// Prose prints a sentence. On a terminal it is broken between words.
func (p *Printer) Prose(format string, args ...any) {
	p.buf.WriteString(human.Wrap(human.Safe(fmt.Sprintf(format, args...)), p.ProseWidth, 0) + "\n")
}

// More notes that there is a next page.
func (p *Printer) More(cursor string) {
	if cursor != "" {
		p.Note = "more follow: --cursor " + human.Safe(cursor)
	}
}

// None notes that a list is empty: a heading alone looks like an error.
func (p *Printer) None(rows int, what string) {
	if rows == 0 {
		p.Note = what
	}
}

// Labeled prints a word, in color if it names a state, and a line after it.
func (p *Printer) Labeled(word, format string, args ...any) {
	p.buf.WriteString(p.paint(word) + " ")
	p.Line(format, args...)
}

// Pairs prints names and values, one pair per line. It skips pairs without a value.
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

// colors of the words that name a state.
var colors = map[string]string{
	"completed": "32", "ok": "32", "added": "32",
	"ok     ": "32", "warning": "33", "error  ": "31",
	"stuck": "31", "unusable": "31", "slow": "33", "paused": "33",
	"failed": "31", "undoing": "31", "deleting": "31", "refused": "31",
	"overdue": "31", "none yet": "33",
	"unresolved": "33", "cancelled": "33", "queued": "33",
	"running": "36", "preparing": "36", "exporting": "36", "calling": "36", "finishing": "36",
}

func (p *Printer) paint(cell string) string {
	if code, ok := colors[cell]; ok && p.Color {
		return "\x1b[" + code + "m" + cell + "\x1b[0m"
	}
	return cell
}
