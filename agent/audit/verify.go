package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A Broken says where the chain of a log does not hold, and why.
type Broken struct {
	File string
	Line int // from 1; 0 = the whole file
	Why  string
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
	noted, err := notedHead(dir)
	if err != nil {
		return first, last, err
	}
	if noted.Sequence > 0 {
		heads = append(heads[:len(heads):len(heads)], noted)
	}
	r := &reader{heads: heads, found: f}
	for _, name := range names {
		if err := r.file(name); err != nil {
			return r.first, r.last, err
		}
	}
	for _, h := range heads {
		if h.Sequence > r.last.Sequence {
			return r.first, r.last, &Broken{File: dir, Why: fmt.Sprintf("its last line is %d, and there was a line %d: the end was cut off", r.last.Sequence, h.Sequence)}
		}
	}
	return r.first, r.last, nil
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
			return &Broken{name, number, "it is not complete: the agent is writing it, or the file was cut off"}
		}
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		e, why := r.check(bytes.TrimSuffix(line, []byte("\n")))
		if why != "" {
			return &Broken{name, number, why}
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
