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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The kinds of entries.
const (
	Request  = "request"  // a request, before anything is done
	Answer   = "answer"   // the answer to a request
	Repaired = "repaired" // a line that was not written completely was removed, because the agent or the host had died
)

// An Entry is one line of the log.
type Entry struct {
	Sequence uint64          `json:"seq"` // from 1, without gaps
	Time     time.Time       `json:"time"`
	Kind     string          `json:"kind"`
	Of       uint64          `json:"of,omitempty"` // of an answer: the sequence of the request
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
	head Head
}

// Open opens the log in a directory, which it makes if there is none. It removes the end of a last line that was not written completely, and
// notes that in the log. Files whose last entry is older than keep are removed when a new file begins; 0 keeps all.
func Open(dir string, keep time.Duration) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	l := &Log{dir: dir, keep: keep, now: time.Now}
	names, err := files(dir)
	if err != nil {
		return nil, err
	}
	removed := 0
	if len(names) > 0 {
		if removed, err = l.continueFile(names[len(names)-1]); err != nil {
			return nil, err
		}
	} else if err := l.begin(); err != nil {
		return nil, err
	}
	if removed > 0 {
		if _, err := l.Append(Entry{Kind: Repaired, Message: fmt.Sprintf("%d bytes of a line that was not written completely were removed", removed)}, true); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	return l, nil
}

// continueFile opens the last file, and removes what follows its last complete line.
func (l *Log) continueFile(name string) (removed int, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	whole := bytes.LastIndexByte(data, '\n') + 1
	if l.head, err = lastOf(l.dir, name, data[:whole]); err != nil {
		return 0, err
	}
	if l.file, err = os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	if err := l.file.Truncate(int64(whole)); err != nil {
		return 0, fmt.Errorf("audit log: %w", errors.Join(err, l.file.Close()))
	}
	l.size = int64(whole)
	return len(data) - whole, nil
}

// lastOf is the last line of the last file; if that has none, of the file before it.
func lastOf(dir, name string, data []byte) (Head, error) {
	lines := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	last := lines[len(lines)-1]
	if len(last) == 0 {
		names, err := files(dir)
		i := slices.Index(names, name)
		if err != nil || i <= 0 {
			return Head{}, err
		}
		before, err := os.ReadFile(names[i-1])
		if err != nil {
			return Head{}, fmt.Errorf("audit log: %w", err)
		}
		return lastOf(dir, names[i-1], before)
	}
	var e Entry
	if err := json.Unmarshal(last, &e); err != nil {
		return Head{}, fmt.Errorf("audit log: %s: its last line is no entry: %w: move the directory away to begin a new log", name, err)
	}
	return Head{e.Sequence, digest(last)}, nil
}

func digest(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// begin begins the next file, and removes those that are too old.
func (l *Log) begin() error {
	name := filepath.Join(l.dir, fmt.Sprintf("audit-%012d%s", l.head.Sequence+1, extension))
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if l.file != nil {
		_ = l.file.Close() // it was synced
	}
	l.file, l.size = file, 0
	return errors.Join(syncDir(l.dir), l.forget())
}

// forget removes the files whose last entry is too old. The last file stays.
func (l *Log) forget() error {
	if l.keep == 0 {
		return nil
	}
	names, err := files(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names[:len(names)-1] {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
		if l.now().Sub(info.ModTime()) < l.keep {
			return nil
		}
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// files returns the paths of the files of a log, in their order.
func files(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "audit-*"+extension))
	slices.Sort(names)
	return names, err
}

// Append adds an entry, and returns the head of the log then. Sequence, time and digest are set here. The entry outlives the death of the
// agent; with sync it also outlives that of the host. After an error the log is as it was.
func (l *Log) Append(e Entry, sync bool) (Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return Head{}, fs.ErrClosed
	}
	if l.size >= maxFile {
		if err := errors.Join(l.file.Sync(), l.begin()); err != nil {
			return Head{}, err
		}
	}
	e.Sequence, e.Time, e.Previous = l.head.Sequence+1, l.now().UTC(), l.head.Digest
	line, err := json.Marshal(e)
	if err != nil {
		return Head{}, fmt.Errorf("audit log: %w", err)
	}
	if n, err := l.file.Write(append(line, '\n')); err != nil {
		if n > 0 {
			err = errors.Join(err, l.file.Truncate(l.size)) // a half of a line would be taken for damage
		}
		return Head{}, fmt.Errorf("audit log: %w", err)
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

// noteHead writes the head beside the log. If it cannot be written, the older one still proves all before it.
func (l *Log) noteHead() error {
	text, err := json.Marshal(l.head)
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, headFile)
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	return os.Rename(path+".new", path)
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
