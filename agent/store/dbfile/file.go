// Package dbfile is the file of the database, a bbolt file. It opens the file under a lock and checks it before bbolt follows
// its pages. It recovers a file with one damaged header page, copies and replaces a whole file, and tells what became of each
// transaction. It does not know the content of the file: see Content.
package dbfile

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// A File is an open database file. Its methods may be called from any goroutine.
type File struct {
	db   *bolt.DB
	path string
	harm headerHarm // of a file that was opened read-only

	writes   writes
	recovery *Recovery    // nil for a file that was good when it was opened
	last     atomic.Int64 // the number of the last transaction that is known to be committed
	unsynced atomic.Bool  // the last commit is in the file, and may not be on the disk
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// LastTransaction is the number of the last transaction that is known to be committed.
func (f *File) LastTransaction() int { return int(f.last.Load()) }

// Close closes the file after the transactions in progress.
func (f *File) Close() error { return f.db.Close() }

// SizeBytes is the size of the file in bytes, with its free pages; 0 when the file is closed.
func (f *File) SizeBytes() int64 {
	var size int64
	_ = f.db.View(func(t *bolt.Tx) error {
		size = t.Size()
		return nil
	})
	return size
}

// ErrUnchanged ends a writing transaction that has nothing to write. It saves the cost of a commit.
var ErrUnchanged = errors.New("nothing to write")

// Tx is a transaction.
type Tx struct {
	*bolt.Tx
	path    string
	calling bool // a function of the caller is running
}

// Path is where the file is.
func (t *Tx) Path() string { return t.path }

// Call runs a function of the caller. A panic in it is a bug of the caller, not a damaged file.
func (t *Tx) Call(f func()) {
	t.calling = true
	f()
	t.calling = false
}

// Damaged makes the error of an entry that contradicts the schema.
func (t *Tx) Damaged(format string, args ...any) error {
	return Damaged(t.path, fmt.Sprintf(format, args...))
}

// View runs a transaction that only reads.
func (f *File) View(read func(*Tx) error) error {
	last := f.last.Load()
	return f.transact(f.db.View, func(t *Tx) error {
		if int64(t.ID()) < last {
			return t.lostTransaction(last, int64(t.ID()))
		}
		return read(t)
	})
}

// lostTransaction is the error of an open file that has lost its last transaction: the header page of that transaction was
// damaged on the disk, and bbolt silently goes on with the other header page.
func (t *Tx) lostTransaction(from, to int64) error {
	return t.Damaged("the header page that describes transaction %d is damaged, and the other one describes %d", from, to)
}

// Update runs a writing transaction. bbolt writes the pages, syncs, writes the header, and syncs again. If only the last sync
// fails, the transaction is in the file and in this process, but a power failure may undo it. The error says so (ErrUnsynced),
// and the next transaction is committed even if it changes nothing, so that it is synced.
func (f *File) Update(write func(*Tx) error) error {
	done, id := false, 0
	err := f.transact(f.db.Update, func(t *Tx) error {
		if id = t.ID(); int64(id) <= f.last.Load() {
			return t.lostTransaction(f.last.Load(), int64(id)-1)
		}
		err := write(t)
		if errors.Is(err, ErrUnchanged) && f.unsynced.Load() {
			err = nil
		}
		done = err == nil
		return err
	})
	switch {
	case errors.Is(err, ErrUnchanged):
		return nil
	case err != nil && done && !errors.Is(err, ErrDamaged):
		err = f.commitFailed(id, err)
		f.writes.note(err)
	case err == nil:
		f.writes.note(nil)
		f.noteCommitted(id)
		f.unsynced.Store(false)
	}
	return err
}

// noteCommitted notes that a transaction was committed. A later one may have been noted already.
func (f *File) noteCommitted(id int) {
	for {
		last := f.last.Load()
		if int64(id) <= last || f.last.CompareAndSwap(last, int64(id)) {
			return
		}
	}
}

// commitFailed finds out the outcome of a transaction whose commit returned an error.
func (f *File) commitFailed(id int, cause error) error {
	last := id
	if err := f.View(func(t *Tx) error { last = t.ID(); return nil }); err != nil {
		cause = errors.Join(cause, err)
	}
	if last < id {
		return unwritable(f.path, cause)
	}
	f.unsynced.Store(true) // without noteCommitted: the kernel may drop what it could not write
	return unwritable(f.path, fmt.Errorf("%w: %w", ErrUnsynced, cause))
}

// transact runs a transaction. bbolt panics at a damaged page, and the memory map faults at an unreadable disk block. Both
// become ErrDamaged, so that one bad record does not end the daemon.
func (f *File) transact(begin func(func(*bolt.Tx) error) error, run func(*Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	t := &Tx{path: f.path}
	defer func() {
		if r := recover(); r != nil {
			if t.calling {
				panic(r)
			}
			err = Damaged(f.path, r)
		}
	}()
	return begin(func(b *bolt.Tx) error {
		t.Tx = b
		return run(t)
	})
}
