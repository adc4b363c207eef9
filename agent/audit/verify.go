package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
)

// A Broken says where the chain of a log does not hold, and why.
type Broken struct {
	File string
	Line int // from 1; 0 = the whole file
	Why  string

	Known bool // the log itself says so: the agent noted it when it started
}

func (e *Broken) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Why)
	}
	return fmt.Sprintf("%s: line %d: %s", e.File, e.Line, e.Why)
}

// Read passes every entry of the log in a directory to f, in order, and checks the chain. It returns the first and the last line; the zero
// Head for a log without entries. The error is a *Broken if a line was changed, removed, moved or cut off, or if a head of the
// log, as it was noted earlier, is not part of it. f may be nil.
func Read(dir string, heads []Head, f func(Entry) error) (first, last Head, err error) {
	if _, err := os.Stat(dir); err != nil {
		return first, last, fmt.Errorf("audit log: %w", err)
	}
	names, err := files(dir)
	if err != nil {
		return first, last, err
	}
	r := &reader{heads: heads, found: f}
	err = r.read(dir, names)
	return r.first, r.last, err
}

// readEnd checks the last two files of a log only, so that the start of the agent takes no time.
func readEnd(dir string) error {
	names, err := files(dir)
	if err != nil {
		return err
	}
	r := &reader{removed: math.MaxUint64 - 1}
	return r.read(dir, names[max(0, len(names)-2):])
}

// read checks files that follow each other up to the end of the log.
func (r *reader) read(dir string, names []string) error {
	noted, err := notedHead(dir)
	if err != nil {
		return err
	}
	if noted.Sequence > 0 {
		r.heads = append(r.heads[:len(r.heads):len(r.heads)], noted)
	}
	for _, name := range names {
		if err := r.file(name); err != nil {
			return err
		}
	}
	return r.whole(dir)
}

// whole checks that the log has its beginning and its end, and that no earlier start of the agent found it damaged.
func (r *reader) whole(dir string) error {
	if r.damaged != nil {
		return r.damaged
	}
	if r.first.Sequence > r.removed+1 {
		return &Broken{File: dir, Why: fmt.Sprintf("its first line is %d, and no line says that those before it were removed because of their age", r.first.Sequence)}
	}
	for _, h := range r.heads {
		if h.Sequence > r.last.Sequence {
			return &Broken{File: dir, Why: cutOff(r.last.Sequence, h.Sequence)}
		}
	}
	return nil
}

func cutOff(last, noted uint64) string {
	return fmt.Sprintf("its last line is %d, and there was a line %d: the end was cut off", last, noted)
}

// notedHead is the head that was written last.
func notedHead(dir string) (h Head, err error) {
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err != nil {
		return h, fmt.Errorf("audit log: %w", err)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, &Broken{File: filepath.Join(dir, headFile), Why: "it names no line: " + err.Error()}
	}
	return h, nil
}

type reader struct {
	heads       []Head
	found       func(Entry) error
	first, last Head
	removed     uint64  // last line that was removed because of its age
	damaged     *Broken // what the agent noted when it started
}

func (r *reader) file(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	defer file.Close()
	in := bufio.NewReader(file)
	for number := 1; ; number++ {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return &Broken{File: name, Line: number, Why: "it is not complete: the agent is writing it, or the file was cut off"}
		}
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		e, why := r.check(bytes.TrimSuffix(line, []byte("\n")))
		if why != "" {
			return &Broken{File: name, Line: number, Why: why}
		}
		switch {
		case e.Kind == Removed:
			r.removed = max(r.removed, e.Of)
		case e.Kind == Damaged && r.damaged == nil:
			r.damaged = &Broken{File: name, Line: number, Why: "the agent noted when it started: " + e.Message, Known: true}
		}
		if r.found == nil {
			continue
		}
		if err := r.found(e); err != nil {
			return err
		}
	}
}

// check checks that a line follows the one before it. It returns why it does not; "" if it does.
func (r *reader) check(line []byte) (e Entry, why string) {
	if err := json.Unmarshal(line, &e); err != nil {
		return e, "it is no entry: " + err.Error()
	}
	this := Head{e.Sequence, digest(line)}
	switch {
	case r.first.Sequence == 0: // older files may have been removed
		r.first = this
	case e.Sequence != r.last.Sequence+1:
		return e, fmt.Sprintf("it has the number %d, and the line before it has %d: lines were removed or moved", e.Sequence, r.last.Sequence)
	case e.Previous != r.last.Digest:
		return e, fmt.Sprintf("the line before it, number %d, was changed", r.last.Sequence)
	}
	for _, h := range r.heads {
		if h.Sequence == this.Sequence && h.Digest != this.Digest {
			return e, fmt.Sprintf("it is not the line %d of which the digest was noted: it, or one before it, was changed", h.Sequence)
		}
	}
	r.last = this
	return e, ""
}
