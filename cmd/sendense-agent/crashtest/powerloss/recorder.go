package powerloss

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
)

// Kind says what an Op is.
type Kind uint8

// The kinds of operations.
const (
	Make     Kind = iota + 1 // a new file or directory gets its name; a file of O_TMPFILE has none
	Link                     // a file gets one more name
	Remove                   // a name goes
	Rename                   // a name moves, and what had that name before has lost it
	Exchange                 // two names are exchanged (RENAME_EXCHANGE), both or none
	Write                    // data, zeroes and punched holes too
	Truncate                 // to a size, larger or smaller
	Attr                     // mode or owner
	Sync                     // fsync or fdatasync of a file, or fsync of a directory
	Mark                     // something that happened elsewhere
)

func (k Kind) String() string {
	return [...]string{"", "make", "link", "remove", "rename", "exchange", "write", "truncate", "attr", "sync", "mark"}[k]
}

// An Op is one thing that was done, or a mark.
type Op struct {
	Kind     Kind
	Inode    int    // what is written to, synced, or gets a name
	Dir      int    // of Name
	Name     string // of Make, Link, Remove, Rename, Exchange
	NewDir   int    // of Rename, Exchange
	NewName  string // of Rename, Exchange
	Offset   int64  // of Write; the new size of Truncate
	Data     []byte // of Write
	DataOnly bool   // of Sync: fdatasync, which leaves mode and owner out
	Attr     Attrs  // of Make and Attr
	Path     string // where the inode was at that time, for people
	Note     any    // of Mark
}

func (o Op) String() string {
	switch o.Kind {
	case Mark:
		return fmt.Sprintf("%+v", o.Note)
	case Write:
		return fmt.Sprintf("write %s at %d, %d bytes", o.Path, o.Offset, len(o.Data))
	case Truncate:
		return fmt.Sprintf("truncate %s to %d", o.Path, o.Offset)
	case Rename:
		return fmt.Sprintf("rename %s to %s", o.Path, o.NewName)
	case Exchange:
		return fmt.Sprintf("exchange %s and %s", o.Path, o.NewName)
	}
	return o.Kind.String() + " " + o.Path
}

// Attrs are what a file or directory is besides its data.
type Attrs struct {
	Dir            bool
	Mode, UID, GID uint32 // Mode: permissions only
}

// A Recorder keeps what was done to its file systems, in order. Use [Recorder.Mount] to make one.
type Recorder struct {
	NoExchange bool // RENAME_EXCHANGE is refused, as by NFS; set it before Mount

	mu    sync.Mutex
	ops   []Op
	last  int // inode number
	roots []Root
}

// A Root is the top directory of one file system.
type Root struct {
	Inode int
	Path  string // where it is mounted
	Attrs Attrs
}

// Mark writes down that something happened, after all that was done to the file systems before.
func (r *Recorder) Mark(note any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, Op{Kind: Mark, Note: note})
}

// Log returns what was recorded so far.
func (r *Recorder) Log() Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Log{Roots: slices.Clone(r.roots), Ops: slices.Clone(r.ops)}
}

// A Log is what was done to file systems that were empty before.
type Log struct {
	Roots []Root
	Ops   []Op
}

// Without is the log of a program that leaves some operations out.
func (l Log) Without(left func(Op) bool) Log {
	l.Ops = slices.DeleteFunc(slices.Clone(l.Ops), left)
	return l
}

// add takes an operation into the log. The caller holds the lock, since before what it describes was done.
func (r *Recorder) add(op Op) {
	op.Data = bytes.Clone(op.Data)
	r.ops = append(r.ops, op)
}

func (r *Recorder) newInode() int {
	r.last++
	return r.last
}
