package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"
)

// DefaultTimeout is how long Open waits for another process to let go of the file.
const DefaultTimeout = 3 * time.Second

// Options tell how to open a database.
type Options struct {
	Timeout time.Duration // longest wait for the file's lock; 0 = DefaultTimeout
}

// Open opens the database at path, makes a new one if there is no file, and brings an older schema up to date. The
// directory must exist. It returns a *LockedError when another process has the database open, a *NewerSchemaError for
// one that a newer agent wrote, and an error that wraps ErrDamaged for a file that is no database, or not a whole one.
func Open(path string, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	return open(path, o.Timeout, migrations)
}

func open(path string, timeout time.Duration, steps []migration) (*Store, error) {
	deadline := time.Now().Add(timeout)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = create(path, steps); err == nil {
			info, err = os.Stat(path)
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("database %s: %w", path, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("database %s: not a regular file", path)
	case info.Size() == 0:
		return nil, damaged(path, "the file is empty") // bbolt would make a new database of it
	}
	if err := checkWhole(path, deadline); err != nil {
		return nil, err
	}
	db, err := openFile(path, deadline, false)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, path: path}
	if err := s.upgrade(steps); err != nil {
		_ = db.Close()
		return nil, err
	}
	return s, nil
}

// upgrade brings the schema up to date, and looks at what every start of the agent needs.
func (s *Store) upgrade(steps []migration) error {
	err := s.update(func(t *tx) error {
		version, err := schemaVersion(t.Tx)
		switch {
		case err != nil:
			return t.damaged("%v", err)
		case version == 0:
			return t.damaged("there is nothing in it") // create never leaves such a file
		case version > latest(steps):
			return &NewerSchemaError{Path: s.path, Version: version, Supported: latest(steps)}
		case version == latest(steps):
			return errUnchanged
		}
		return migrate(t.Tx, version, steps)
	})
	if err != nil {
		return err
	}
	err = s.view(func(t *tx) error {
		for _, name := range buckets {
			if t.Bucket(name) == nil {
				return t.damaged("bucket %s is missing", name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if _, err = s.Leases(); err != nil {
		return err
	}
	_, err = s.Active()
	return err
}

// checkWhole refuses a file that is shorter than its own header says. It looks through a read-only opening, because a
// writable one reads pages that may lie behind the end, and a memory map answers that with a fault.
func checkWhole(path string, deadline time.Time) error {
	db, err := openFile(path, deadline, true)
	if err != nil {
		return err
	}
	defer db.Close()
	var used int64
	if err := db.View(func(t *bolt.Tx) error {
		used = t.Size()
		return nil
	}); err != nil {
		return damaged(path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	if info.Size() < used {
		return damaged(path, fmt.Sprintf("%d of %d bytes are there", info.Size(), used))
	}
	return nil
}

// openFile opens the file with bbolt and sorts its errors, and its panics, into what they mean.
func openFile(path string, deadline time.Time, readOnly bool) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var file *os.File
	defer func() {
		if r := recover(); r != nil {
			unlock(file)
			db, err = nil, damaged(path, r)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:  max(time.Until(deadline), time.Millisecond),
		ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode) // a file that went meanwhile is not made anew
			file = f
			return f, err
		},
		FreelistType: bolt.FreelistMapType,
	})
	var errno syscall.Errno
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, &LockedError{Path: path, Holders: lockHolders(path)}
	case errors.As(err, &errno):
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	return nil, damaged(path, err)
}

// unlock gives back what bbolt had no time to. The memory map stays and keeps the file open, so that closing it alone
// would not give back the lock.
func unlock(file *os.File) {
	if file != nil {
		_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
		_ = file.Close()
	}
}

// create makes a new database beside the path and then gives it its name, so that the path never shows half a
// database. If another process is faster, its database stays.
func create(path string, steps []migration) error {
	directory := filepath.Dir(path)
	f, err := os.CreateTemp(directory, filepath.Base(path)+".new-*") // mode 0600
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("directory %s does not exist: create it, or set state_directory to another", directory)
	}
	if err != nil {
		return err
	}
	beside := f.Name()
	defer os.Remove(beside)
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(beside, steps); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces what is there.
	if err := os.Link(beside, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirectory(directory)
}

// fill makes a database of an empty file.
func fill(path string, steps []migration) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: DefaultTimeout})
	if err != nil {
		return err
	}
	err = db.Update(func(t *bolt.Tx) error { return migrate(t, 0, steps) })
	return errors.Join(err, db.Close())
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
