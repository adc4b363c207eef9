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

	"github.com/sendense/backup-agent/agent/failpoint"
)

// DefaultTimeout is how long Open waits for another process to let go of the file.
const DefaultTimeout = 3 * time.Second

// Options tell how to open a database.
type Options struct {
	Timeout   time.Duration // longest wait for the file's lock; 0 = DefaultTimeout
	MustExist bool          // a database that is not there is an error, fs.ErrNotExist, instead of being made
	Cooldown  time.Duration // for how long every VM rests after a transaction may have been lost; see Recovery
}

// Open opens the database at path, makes a new one if there is no file, and brings an older schema up to date. The
// directory must exist. It returns a *LockedError when another process has the database open, a *NewerSchemaError for
// one that a newer agent wrote, and an error that wraps ErrDamaged for a file that is no database, or not a whole one. One of which
// only one of the two header pages is damaged is opened by the other: then Recovery tells of it.
func Open(path string, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if _, err := os.Stat(path); err != nil && o.MustExist {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	s, err := open(path, o, migrations)
	return s, classified(path, err)
}

func open(path string, o Options, steps []migration) (*Store, error) {
	deadline := time.Now().Add(o.Timeout)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, steps); err != nil {
			return nil, fmt.Errorf("database %s: %w", path, err)
		}
	}
	if err := checkFile(path); err != nil {
		return nil, err
	}
	harm, err := checkWhole(path, deadline)
	if err != nil {
		return nil, err
	}
	var recovery *Recovery
	if harm.any() {
		if recovery, err = recoverHeader(path, o.Cooldown, steps); err != nil {
			return nil, err
		}
		deadline = time.Now().Add(o.Timeout) // the wait for the lock begins anew: what was done has taken time, on a slow disk more than there was
	}
	db, err := openFile(path, deadline, false)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, path: path, recovery: recovery}
	if err = s.upgrade(steps); err == nil {
		err = s.view(func(t *tx) error {
			s.noteCommitted(t.ID())
			return nil
		})
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	removeStale(path, time.Now())
	return s, nil
}

// checkFile refuses what cannot be a database.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("database %s: %w", path, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("database %s: not a regular file", path)
	case info.Size() == 0:
		return damaged(path, "the file is empty") // bbolt would make a new database of it
	}
	return nil
}

// upgrade brings the schema up to date, and looks at what every start of the agent needs.
func (s *Store) upgrade(steps []migration) error {
	err := s.update(func(t *tx) error {
		version, err := t.version(latest(steps))
		switch {
		case err != nil:
			return err
		case version == latest(steps):
			return errUnchanged
		}
		err = migrate(t.Tx, version, steps)
		failpoint.Reach("database: committing migration")
		return err
	})
	failpoint.Reach("database: schema looked at")
	if err != nil {
		return err
	}
	return s.usable()
}

// usable looks at what every start of the agent needs.
func (s *Store) usable() error {
	err := s.view(func(t *tx) error {
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
	if _, err = s.Active(); err != nil {
		return err
	}
	_, err = s.ActiveRestores()
	return err
}

// followBytes bounds the size of a file of which every page is looked at before it is opened: so many bytes take about a tenth
// of a second.
const followBytes = 64 << 20

// checkWhole refuses a file that is shorter than its own header says, or in which something leads out of it: of a large one
// only the list of free pages is looked at. bbolt looks at neither when it opens one for writing, and answers with a fault.
func checkWhole(path string, deadline time.Time) (harm headerHarm, err error) {
	db, err := openFile(path, deadline, true) // the lock, and all that bbolt looks at by itself
	if err != nil {
		return harm, err
	}
	defer db.Close()
	err = withPages(path, db.Info().PageSize, func(p *pages) error {
		if harm = p.harm; p.high*p.pageSize > followBytes {
			return p.checkFreelist()
		}
		return p.check()
	})
	return harm, err
}

// withPages looks at the pages of a file that nobody writes meanwhile.
func withPages(path string, pageSize int, look func(*pages) error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	p, err := readPages(file, int64(pageSize), info.Size())
	if err == nil {
		err = look(p)
	}
	if err != nil {
		return damaged(path, err)
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
	f, err := os.CreateTemp(directory, filepath.Base(path)+besidePattern) // mode 0600
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
	failpoint.Reach("database: file made beside")
	if err := fill(beside, steps); err != nil {
		return err
	}
	failpoint.Reach("database: schema made beside")
	// A link, unlike a rename, never replaces what is there.
	if err := os.Link(beside, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	failpoint.Reach("database: linked, not synced")
	return syncDirectory(directory)
}

// fill makes a database of an empty file. The second transaction has both header pages know the schema.
func fill(path string, steps []migration) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: DefaultTimeout})
	if err != nil {
		return err
	}
	err = db.Update(func(t *bolt.Tx) error { return migrate(t, 0, steps) })
	if err == nil {
		err = db.Update(func(*bolt.Tx) error { return nil })
	}
	return errors.Join(err, db.Close())
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
