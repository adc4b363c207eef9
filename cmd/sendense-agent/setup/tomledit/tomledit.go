// Package tomledit sets values in the text of a TOML file and keeps everything else: comments, order, blank lines.
//
// A key that the text shows only as a comment ("#path = ...") is set in that place. So a file that starts as a commented example stays
// readable. The package knows no configuration; the caller parses the result and compares it with what it wanted.
package tomledit

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A Table names a table of the file.
type Table struct {
	Path []string // nil: the keys before the first table
	// ID is the value of the key "id", which tells the tables of an array ([[name]]) from each other; "" for a plain table.
	ID string
}

// A Value is a key of a table, and what it becomes: a string or a bool.
type Value struct {
	Key string
	To  any
}

// Set returns the text with the values set in the table. A missing table is added.
func Set(text []byte, in Table, values ...Value) ([]byte, error) {
	for _, v := range values {
		d, err := parse(text)
		if err != nil {
			return nil, err
		}
		t := d.find(in)
		if t == nil {
			return addTable(text, in, values), nil
		}
		if text, err = t.set(text, v); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// literal writes a value as TOML does.
func literal(to any) string {
	if b, ok := to.(bool); ok {
		return strconv.FormatBool(b)
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(fmt.Sprint(to)) + `"`
}

// A document is where the tables and the values of a text are.
type document struct{ tables []*table }

type table struct {
	path   []string
	array  bool
	begin  int // after the line of its heading
	end    int // of its region: the line of the next heading
	values map[string]value
	last   int // after the line of its last value, or begin
}

type value struct {
	kind       unstable.Kind
	begin, end int
	text       string
}

func parse(text []byte) (*document, error) {
	t := &table{values: map[string]value{}}
	d := &document{tables: []*table{t}}
	p := unstable.Parser{}
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		keys, offset := keyOf(e)
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			t.end = lineBegin(text, offset)
			t = &table{path: keys, array: e.Kind == unstable.ArrayTable, begin: lineEnd(text, offset), values: map[string]value{}}
			t.last = t.begin
			d.tables = append(d.tables, t)
		case unstable.KeyValue:
			v := e.Value()
			r := v.Raw
			if v.Kind == unstable.Bool {
				r = p.Range(v.Data)
			}
			t.values[strings.Join(keys, ".")] = value{v.Kind, int(r.Offset), int(r.Offset + r.Length), string(v.Data)}
			t.last = lineEnd(text, int(e.Raw.Offset+e.Raw.Length))
		}
	}
	t.end = len(text)
	if err := p.Error(); err != nil {
		return nil, fmt.Errorf("toml: %w", err)
	}
	return d, nil
}

// keyOf is the dotted key of an expression, and where it is.
func keyOf(e *unstable.Node) (keys []string, offset int) {
	if e.Kind != unstable.Table && e.Kind != unstable.ArrayTable && e.Kind != unstable.KeyValue {
		return nil, 0
	}
	for it := e.Key(); it.Next(); {
		if keys == nil {
			offset = int(it.Node().Raw.Offset)
		}
		keys = append(keys, string(it.Node().Data))
	}
	return keys, offset
}

func lineBegin(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

func lineEnd(text []byte, at int) int {
	if n := bytes.IndexByte(text[at:], '\n'); n >= 0 {
		return at + n + 1
	}
	return len(text)
}

func (d *document) find(in Table) *table {
	for _, t := range d.tables {
		if slices.Equal(t.path, in.Path) && (in.ID == "" || t.values["id"].text == in.ID) {
			return t
		}
	}
	return nil
}

// set sets one value of the table: in its place, in the place of a comment that shows it, or after the last value.
func (t *table) set(text []byte, v Value) ([]byte, error) {
	line := v.Key + " = " + literal(v.To)
	is, found := t.values[v.Key]
	switch {
	case found && is.kind != unstable.String && is.kind != unstable.Bool:
		return nil, fmt.Errorf("%s: is neither a string nor a bool", strings.Join(append(slices.Clone(t.path), v.Key), "."))
	case found:
		return splice(text, is.begin, is.end, literal(v.To)), nil
	}
	end := t.end
	if next := anyHeading.FindIndex(text[t.begin:end]); next != nil { // what follows shows another table
		end = t.begin + next[0]
	}
	if at := commented(v.Key).FindIndex(text[t.begin:end]); at != nil {
		return splice(text, t.begin+at[0], t.begin+at[1], line), nil
	}
	return splice(text, t.last, t.last, newlineBefore(text, t.last)+line+"\n"), nil
}

// commented finds the comment that shows a key.
func commented(key string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^#[ \t]*` + regexp.QuoteMeta(key) + `[ \t]*=.*$`)
}

func splice(text []byte, begin, end int, with string) []byte {
	return slices.Concat(text[:begin], []byte(with), text[end:])
}

func newlineBefore(text []byte, at int) string {
	if at > 0 && text[at-1] != '\n' {
		return "\n"
	}
	return ""
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// heading is the line that begins a table.
func (in Table) heading() string {
	parts := slices.Clone(in.Path)
	for i, p := range parts {
		if !bareKey.MatchString(p) {
			parts[i] = literal(p)
		}
	}
	name := strings.Join(parts, ".")
	if in.ID != "" {
		return "[[" + name + "]]"
	}
	return "[" + name + "]"
}

// addTable adds a table: in the place of a comment that shows one, else at the end.
func addTable(text []byte, in Table, values []Value) []byte {
	at := in.shown().FindIndex(text)
	if at == nil {
		var b strings.Builder
		fmt.Fprintf(&b, "%s\n%s\n", newlineBefore(text, len(text)), in.heading())
		for _, v := range values {
			fmt.Fprintf(&b, "%s = %s\n", v.Key, literal(v.To))
		}
		return slices.Concat(text, []byte(b.String()))
	}
	end := len(text)
	if next := anyHeading.FindIndex(text[at[1]:]); next != nil {
		end = at[1] + next[0]
	}
	body, missing := slices.Clone(text[at[1]:end]), ""
	for _, v := range values {
		line := v.Key + " = " + literal(v.To)
		if k := commented(v.Key).FindIndex(body); k != nil {
			body = splice(body, k[0], k[1], line)
		} else {
			missing += "\n" + line
		}
	}
	return slices.Concat(text[:at[0]], []byte(in.heading()+missing), body, text[end:])
}

var anyHeading = regexp.MustCompile(`(?m)^#?\[.*$`)

// shown finds the comment that shows such a table: of an array by its name, of others by all but the last part of the name, which the
// file chooses.
func (in Table) shown() *regexp.Regexp {
	if in.ID != "" {
		return regexp.MustCompile(`(?m)^#` + regexp.QuoteMeta(in.heading()) + `$`)
	}
	parent := strings.Join(in.Path[:len(in.Path)-1], ".")
	return regexp.MustCompile(`(?m)^#\[` + regexp.QuoteMeta(parent) + `\.[^\]]*\]$`)
}
