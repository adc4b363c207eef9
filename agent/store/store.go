package store

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// A Store is an open database.
type Store struct {
	db   *bolt.DB
	path string
	harm headerHarm // of a file that is only looked at

	writes   writes
	recovery *Recovery    // nil for a file that was whole when it was opened
	last     atomic.Int64 // the number of the last transaction that is known to stand
	unsynced atomic.Bool  // the last commit stands, and is not known to be on the disk

	damages atomic.Pointer[damage] // as it was when somebody last asked
}

// Close closes the file, after the transactions under way have ended.
func (s *Store) Close() error { return s.db.Close() }

// SizeBytes is the size of the database in bytes, free pages within it included; 0 when the store is closed.
func (s *Store) SizeBytes() int64 {
	var size int64
	_ = s.db.View(func(t *bolt.Tx) error {
		size = t.Size()
		return nil
	})
	return size
}

// errUnchanged ends a write transaction that turned out to have nothing to write, without the cost of a commit.
var errUnchanged = errors.New("nothing to write")

// tx is a transaction.
type tx struct {
	*bolt.Tx
	path    string
	calling bool // a function of the caller is running
}

// call runs a function of the caller. If it panics, that is the caller's bug and not a damaged file.
func (t *tx) call(f func()) {
	t.calling = true
	f()
	t.calling = false
}

// damaged makes the error for something that contradicts the schema.
func (t *tx) damaged(format string, args ...any) error {
	return damaged(t.path, fmt.Sprintf(format, args...))
}

func (s *Store) view(f func(*tx) error) error {
	last := s.last.Load()
	return s.transact(s.db.View, func(t *tx) error {
		if int64(t.ID()) < last {
			return t.lostTransaction(last, int64(t.ID()))
		}
		return f(t)
	})
}

// wentBack is the error for a database that has forgotten its last transaction while it was open, because the header page that
// describes it was damaged beneath it: bbolt goes on with the other one, and says nothing.
func (t *tx) lostTransaction(from, to int64) error {
	return t.damaged("the header page that describes transaction %d is damaged, and the other one describes %d", from, to)
}

// update runs a writing transaction. bbolt writes the pages, syncs, writes the header, and syncs again: when only the last
// sync fails, the transaction stands in the file and in this process, and may be gone after a power failure. Then the error
// says so (ErrMayStand), and the next transaction is committed even if it changes nothing, so that it is synced.
func (s *Store) update(f func(*tx) error) error {
	done, id := false, 0
	err := s.transact(s.db.Update, func(t *tx) error {
		if id = t.ID(); int64(id) <= s.last.Load() {
			return t.lostTransaction(s.last.Load(), int64(id)-1)
		}
		err := f(t)
		if errors.Is(err, errUnchanged) && s.unsynced.Load() {
			err = nil
		}
		done = err == nil
		return err
	})
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case err != nil && done && !errors.Is(err, ErrDamaged):
		err = s.commitFailed(id, err)
		s.writes.note(err)
	case err == nil:
		s.writes.note(nil)
		s.noteCommitted(id)
		s.unsynced.Store(false)
	}
	return err
}

// stands notes that a transaction was committed. Another may have been since.
func (s *Store) noteCommitted(id int) {
	for {
		last := s.last.Load()
		if int64(id) <= last || s.last.CompareAndSwap(last, int64(id)) {
			return
		}
	}
}

// commitFailed says what has become of a transaction whose commit gave an error.
func (s *Store) commitFailed(id int, cause error) error {
	last := id
	if err := s.view(func(t *tx) error { last = t.ID(); return nil }); err != nil {
		cause = errors.Join(cause, err)
	}
	if last < id {
		return unwritable(s.path, cause)
	}
	s.unsynced.Store(true) // and not stands: the kernel may drop again what it could not write
	return unwritable(s.path, fmt.Errorf("%w: %w", ErrUnsynced, cause))
}

// transact runs a transaction. bbolt answers a damaged page with a panic, and the memory map answers an unreadable
// disk block with a fault: both become ErrDamaged, so that one bad record does not end the daemon.
func (s *Store) transact(begin func(func(*bolt.Tx) error) error, f func(*tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	t := &tx{path: s.path}
	defer func() {
		if r := recover(); r != nil {
			if t.calling {
				panic(r)
			}
			err = damaged(s.path, r)
		}
	}()
	return begin(func(b *bolt.Tx) error {
		t.Tx = b
		return f(t)
	})
}
