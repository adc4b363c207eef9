package store

import (
	"errors"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// A Store is an open database.
type Store struct {
	db   *bolt.DB
	path string
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

func (s *Store) view(f func(*tx) error) error { return s.transact(s.db.View, f) }

func (s *Store) update(f func(*tx) error) error {
	done := false
	err := s.transact(s.db.Update, func(t *tx) error {
		err := f(t)
		done = err == nil
		return err
	})
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case err != nil && done && !errors.Is(err, ErrDamaged):
		return fmt.Errorf("database %s: commit: %w", s.path, err)
	}
	return err
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
