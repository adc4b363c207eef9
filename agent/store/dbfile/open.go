package dbfile

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

// DefaultTimeout is how long Open waits until another process unlocks the file.
const DefaultTimeout = 3 * time.Second

// Options say how to open a file.
type Options struct {
	Timeout   time.Duration // longest wait for the file's lock; 0 = DefaultTimeout
	MustExist bool          // a missing file is an error, fs.ErrNotExist, and is not made
	NoSync    bool          // commits do not wait for the disk: a power failure may damage the file
}

// Content is what a file holds.
type Content struct {
	Make    func(*bolt.Tx) error // fills a file that holds nothing
	Upgrade func(*File) error    // brings an older file up to date, and refuses a file that holds something else
	Lost    func(*File) error    // notes that the last transaction may be missing
	Check   func(*File) error    // reads everything, and refuses a file in which something is wrong
}

// Open opens the file at path, or makes a new one if there is none. The directory must exist. It returns a *LockedError when
// another process has the file open, and an error that wraps ErrDamaged for a file that is no database or is damaged. If one of
// the two header pages is damaged, Open recovers the file by the other one, and Recovery tells of it.
func Open(path string, o Options, c Content) (*File, error) {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if _, err := os.Stat(path); err != nil && o.MustExist {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	f, err := open(path, o, c)
	return f, classified(path, err)
}

func open(path string, o Options, c Content) (*File, error) {
	deadline := time.Now().Add(o.Timeout)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := create(path, c); err != nil {
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
		if recovery, err = recoverHeader(path, c); err != nil {
			return nil, err
		}
		deadline = time.Now().Add(o.Timeout) // the recovery may have taken all of it, on a slow disk
	}
	db, err := openFile(path, deadline, false)
	if err != nil {
		return nil, err
	}
	db.NoSync = o.NoSync
	f := &File{db: db, path: path, recovery: recovery}
	if err = c.Upgrade(f); err == nil {
		err = f.View(func(t *Tx) error {
			f.noteCommitted(t.ID())
			return nil
		})
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	removeStale(path, time.Now())
	return f, nil
}

// OpenReadOnly opens a file and changes nothing. An agent that starts meanwhile waits for the file. The errors are those of
// Open.
func OpenReadOnly(path string, timeout time.Duration) (*File, error) {
	deadline := time.Now().Add(timeout)
	if err := checkFile(path); err != nil {
		return nil, err
	}
	harm, err := checkWhole(path, deadline)
	if err != nil {
		return nil, err
	}
	db, err := openFile(path, deadline, true)
	if err != nil {
		return nil, err
	}
	return &File{db: db, path: path, harm: harm}, nil
}

// HeaderDamaged says whether one of the two header pages is damaged, of a file that was opened read-only.
func (f *File) HeaderDamaged() bool { return f.harm.any() }

// CheckPages checks every page of the file in a transaction, while nobody writes. It reports each error that bbolt finds in its
// own structure.
func (f *File) CheckPages(t *Tx, report func(error)) error {
	if err := withPages(f.path, f.db.Info().PageSize, (*pages).check); err != nil {
		return err
	}
	if f.harm.any() { // bbolt's check may end the process at such a header
		return nil
	}
	for err := range t.Check() {
		report(err)
	}
	return nil
}

// checkFile refuses a file that cannot be a database.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("database %s: %w", path, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("database %s: not a regular file", path)
	case info.Size() == 0:
		return Damaged(path, "the file is empty") // bbolt would make a new database of it
	}
	return nil
}

// followBytes is the size up to which every page of a file is checked before it is opened. So many bytes take about a tenth of
// a second.
const followBytes = 64 << 20

// checkWhole refuses a file that is shorter than its header says, or in which a number points out of it. Of a large file it
// checks only the list of free pages. bbolt checks neither when it opens a file for writing, and faults.
func checkWhole(path string, deadline time.Time) (harm headerHarm, err error) {
	db, err := openFile(path, deadline, true) // the lock, and what bbolt checks by itself
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

// withPages checks the pages of a file that nobody writes meanwhile.
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
		return Damaged(path, err)
	}
	return nil
}

// openFile opens the file with bbolt, and turns bbolt's errors and panics into ours.
func openFile(path string, deadline time.Time, readOnly bool) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var file *os.File
	defer func() {
		if r := recover(); r != nil {
			unlock(file)
			db, err = nil, Damaged(path, r)
		}
	}()
	db, err = bolt.Open(path, 0o600, &bolt.Options{
		Timeout:  max(time.Until(deadline), time.Millisecond),
		ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode fs.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag&^os.O_CREATE, mode) // a file that was removed meanwhile is not made again
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
	return nil, Damaged(path, err)
}

// unlock releases the lock when bbolt panicked. The memory map keeps the file open, so closing it does not release the lock.
func unlock(file *os.File) {
	if file != nil {
		_ = unix.Flock(int(file.Fd()), unix.LOCK_UN)
		_ = file.Close()
	}
}

// create makes a new file beside the path and then links it to the path, so that the path never shows half a file. If another
// process is faster, its file stays.
func create(path string, c Content) error {
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
	if err := fill(beside, c); err != nil {
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

// fill makes a database of an empty file. The second transaction writes the other header page, so that both describe the
// content.
func fill(path string, c Content) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: DefaultTimeout})
	if err != nil {
		return err
	}
	err = db.Update(c.Make)
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
