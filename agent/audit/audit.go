// Package audit keeps a log of what was asked of the agent: who asked, what, and what the answer was. The log only grows. Each line holds
// the digest of the line before it, so a line that is changed, removed or moved breaks the chain. The package does not know which
// requests belong in the log.
//
// The log is a directory of files with the names audit-<number>.jsonl. A line is an Entry as JSON. The last line of all is also named in
// the file "head", so that a log whose end was cut off is noticed.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// The kinds of entries.
const (
	Request  = "request"  // a request, before anything is done
	Answer   = "answer"   // the answer to a request
	Refused  = "refused"  // a request of a user who may not make it; nothing was done
	Repaired = "repaired" // a line that was not written completely was removed, because the agent or the host had died
	Removed  = "removed"  // the lines up to Of are removed now, because they are older than audit.keep
	Damaged  = "damaged"  // the agent found the log changed or cut when it started: Message says where
)

// An Entry is one line of the log.
type Entry struct {
	Sequence uint64          `json:"seq"` // from 1, without gaps
	Time     time.Time       `json:"time"`
	Kind     string          `json:"kind"`
	Of       uint64          `json:"of,omitempty"` // of an answer: the sequence of the request; of Removed: the last removed line
	UID      *uint32         `json:"uid,omitempty"`
	User     string          `json:"user,omitempty"` // name of the UID when the request came; "" if it has none
	PID      int32           `json:"pid,omitempty"`
	From     string          `json:"from,omitempty"` // of a request over HTTP: the address of the client
	Method   string          `json:"method,omitempty"`
	Params   json.RawMessage `json:"params,omitempty"`  // cut to MaxParams bytes: then it is a text
	Reason   string          `json:"reason,omitempty"`  // of an answer: why the request failed; "" if it did not
	Message  string          `json:"message,omitempty"` // of an error, or of a repair
	BackupID string          `json:"backup_id,omitempty"`
	Previous string          `json:"prev"` // digest of the line before, in hex; "" for the first line of the log
}

// MaxParams limits the parameters in an entry, in bytes.
const MaxParams = 4096

const (
	maxFile   = 16 << 20 // bytes of a file, after which a new one begins
	headFile  = "head"
	extension = ".jsonl"
)

// A Head names the last line of a log.
type Head struct {
	Sequence uint64 `json:"seq"`
	Digest   string `json:"digest"` // SHA-256 of the line without its end, in hex
}

func (h Head) String() string { return fmt.Sprintf("%d:%s", h.Sequence, h.Digest) }

// A Log is open for writing. Its methods may be called from any goroutine.
type Log struct {
	dir  string
	keep time.Duration
	now  func() time.Time

	mu   sync.Mutex
	file *os.File
	size int64
	torn bool // the file may be longer than size
	head Head
}

// Open opens the log in a directory, which it makes if there is none. It removes the end of a last line that was not written completely, and
// notes that in the log. It also notes a log that is changed or cut: what it appends would hide that. Files whose last entry is older than
// keep are removed when a new file begins; 0 keeps all.
func Open(dir string, keep time.Duration) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l := &Log{dir: dir, keep: keep, now: time.Now}
	names, err := files(dir)
	if err != nil {
		return nil, err
	}
	var notes []Entry
	if len(names) > 0 {
		notes, err = l.continueFile(names[len(names)-1])
	} else {
		notes, err = l.lost()
		err = errors.Join(err, l.begin())
	}
	for _, note := range notes {
		if err == nil {
			_, err = l.Append(note, true)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// lost notes that there is no file, and there was one.
func (l *Log) lost() ([]Entry, error) {
	noted, err := notedHead(l.dir)
	if err == nil && noted.Sequence > 0 {
		return []Entry{{Kind: Damaged, Message: cutOff(0, noted.Sequence)}}, nil
	}
	return damage(err)
}

// continueFile opens the last file, and removes what follows its last complete line. It returns what the log should say of that.
func (l *Log) continueFile(name string) (notes []Entry, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if l.head, err = lastOf(l.dir, name, data[:whole]); err != nil {
		return nil, err
	}
	if l.file, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l.size, l.torn = int64(whole), true
	if err := l.mend(); err != nil {
		return nil, err
	}
	if removed := len(data) - whole; removed > 0 {
		notes = []Entry{{Kind: Repaired, Message: fmt.Sprintf("%d bytes of a line that was not written completely were removed", removed)}}
	}
	found, err := damage(readEnd(l.dir))
	return append(notes, found...), err
}

// damage turns the error of a log that is changed or cut into an entry. An entry that is in the log already is not made again.
func damage(err error) ([]Entry, error) {
	broken := new(Broken)
	switch {
	case !errors.As(err, &broken):
		return nil, err
	case broken.Known:
		return nil, nil
	}
	return []Entry{{Kind: Damaged, Message: broken.Error()}}, nil
}

// mend removes what a failed write left behind the last line.
func (l *Log) mend() error {
	if !l.torn {
		return nil
	}
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	l.torn = false
	return nil
}

func digest(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// Append adds an entry, and returns the head of the log then. Sequence, time and digest are set here. The entry outlives the death of the
// agent; with sync it also outlives that of the host. After an error the log is as it was.
func (l *Log) Append(e Entry, sync bool) (head Head, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return Head{}, fs.ErrClosed
	}
	if l.size >= maxFile {
		if err := errors.Join(l.file.Sync(), l.begin()); err != nil {
			return Head{}, err
		}
		defer func() { err = errors.Join(err, l.forget()) }() // old files that stay keep no entry out
	}
	return l.append(e, sync)
}

func (l *Log) append(e Entry, sync bool) (Head, error) {
	if err := l.mend(); err != nil {
		return Head{}, err
	}
	e.Sequence, e.Time, e.Previous = l.head.Sequence+1, l.now().UTC(), l.head.Digest
	line, err := json.Marshal(e)
	if err != nil {
		return Head{}, fmt.Errorf("audit log: %w", err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		l.torn = true // a half of a line would be taken for damage
		return Head{}, fmt.Errorf("audit log: %w", errors.Join(err, l.mend()))
	}
	l.size += int64(len(line)) + 1
	l.head = Head{e.Sequence, digest(line)}
	if !sync {
		return l.head, nil
	}
	if err := l.file.Sync(); err != nil {
		return l.head, fmt.Errorf("audit log: %w", err)
	}
	return l.head, l.noteHead()
}

// Close closes the log.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.noteHead(), l.file.Close())
	l.file = nil
	return err
}

// ParseHead reads what Head.String writes.
func ParseHead(text string) (h Head, err error) {
	sequence, digest, found := strings.Cut(text, ":")
	if _, err := fmt.Sscanf(sequence, "%d", &h.Sequence); err != nil || !found || len(digest) != 2*sha256.Size {
		return h, fmt.Errorf("head %q: want NUMBER:DIGEST, as audit verify prints it", text)
	}
	h.Digest = digest
	return h, nil
}
