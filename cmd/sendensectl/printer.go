package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// A printer writes for people: pairs of a name and a value, and tables that fit the terminal.
type printer struct {
	buf    bytes.Buffer
	width  int // of a table in cells; 0: nothing is cut
	prose  int // of text, which is broken between words; 0: nothing is broken
	colour bool
	note   string // about what is printed, and no part of it
}

// newPrinter makes a printer for a writer; a wide one cuts nothing.
func newPrinter(w io.Writer, wide bool, colour string) *printer {
	p := &printer{width: width(w), colour: wantsColour(colour, w)}
	if wide {
		p.width = 0
	}
	if p.width > 0 {
		p.prose = proseWidth(w)
	}
	return p
}

// text is what was printed.
func (p *printer) text() string { return p.buf.String() }

func (p *printer) line(format string, args ...any) {
	p.buf.WriteString(safe(fmt.Sprintf(format, args...)) + "\n")
}

// prosaic prints a sentence, which is broken between words on a terminal.
func (p *printer) prosaic(format string, args ...any) {
	p.buf.WriteString(wrap(safe(fmt.Sprintf(format, args...)), p.prose, 0) + "\n")
}

// more tells of a next page.
func (p *printer) more(cursor string) {
	if cursor != "" {
		p.note = "there are more: --cursor " + safe(cursor)
	}
}

// none tells of a list with nothing in it: a heading alone looks like something that went wrong.
func (p *printer) none(rows int, what string) {
	if rows == 0 {
		p.note = what
	}
}

// labelled prints a line behind a word, which is coloured if it is one that stands for how things are.
func (p *printer) labelled(word, format string, args ...any) {
	p.buf.WriteString(p.paint(word) + " ")
	p.line(format, args...)
}

// pairs prints names and values, one pair a line, and leaves out pairs without a value.
func (p *printer) pairs(pairs ...string) {
	widest := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			widest = max(widest, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			value := wrap(safe(pairs[i+1]), p.prose, widest+3)
			fmt.Fprintf(&p.buf, "%-*s  %s\n", widest+1, pairs[i]+":", p.paint(value))
		}
	}
}

// colours of the words that stand for how things are.
var colours = map[string]string{
	"completed": "32", "usable": "32", "added": "32",
	"ok     ": "32", "warning": "33", "error  ": "31",
	"failed": "31", "undoing": "31", "deleting": "31", "refused": "31",
	"unresolved": "33", "cancelled": "33", "queued": "33",
	"running": "36", "preparing": "36", "exporting": "36", "calling": "36", "finishing": "36",
}

func (p *printer) paint(cell string) string {
	if code, ok := colours[cell]; ok && p.colour {
		return "\x1b[" + code + "m" + cell + "\x1b[0m"
	}
	return cell
}
