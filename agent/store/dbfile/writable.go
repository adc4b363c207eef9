package dbfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UnwritableError says that the database, or its directory, cannot be written: the file system is full, over its quota,
// read-only, or fails. It is no fault of the agent, and ends with its cause.
type UnwritableError struct {
	Path string // of the database
	Free int64  // free bytes of its file system; -1 when unknown
	Err  error
}

func (e *UnwritableError) Error() string {
	return fmt.Sprintf("database %s cannot be written: %v", e.Path, e.Err)
}

func (e *UnwritableError) Unwrap() error { return e.Err }

// Directory is the directory that must be writable.
func (e *UnwritableError) Directory() string { return filepath.Dir(e.Path) }

func unwritable(path string, err error) *UnwritableError {
	e := &UnwritableError{Path: path, Free: -1, Err: err}
	if free, err := freeBytes(filepath.Dir(path)); err == nil {
		e.Free = free
	}
	return e
}

// classified turns the error of a failed opening into an *UnwritableError where it is one.
func classified(path string, err error) error {
	var already *UnwritableError
	if err == nil || errors.Is(err, ErrDamaged) || errors.As(err, &already) {
		return err
	}
	for _, errno := range []syscall.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, errno) {
			if inner := errors.Unwrap(err); inner != nil {
				err = inner // it also begins with the path of the database
			}
			return unwritable(path, err)
		}
	}
	return err
}

// freeBytes is the free space of the file system of a directory, for this user.
func freeBytes(directory string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(directory, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: directory, Err: err}
	}
	return int64(st.Bavail) * st.Frsize, nil
}

// writes is the outcome of the last transaction that had something to write.
type writes struct {
	mu  sync.Mutex
	at  time.Time // zero: none
	err error
}

func (w *writes) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at, w.err = time.Now(), err
}

const (
	// writtenLately is how long the outcome of a transaction tells whether another one can be written. It bounds how often
	// Writable writes, however often it is called.
	writtenLately = 10 * time.Second

	// leastFree is what the file system must have free. A transaction that needs no new pages can be written to a full file
	// system, but the next one that needs some cannot.
	leastFree = 1 << 20
)

// Writable says why no transaction can be written now; nil when one can. If none was written lately, it writes one that changes
// nothing.
func (f *File) Writable() error {
	f.writes.mu.Lock()
	at, err := f.writes.at, f.writes.err
	f.writes.mu.Unlock()
	if time.Since(at) >= writtenLately {
		err = f.SecondCopy()
	}
	if err != nil {
		return err
	}
	free, err := f.FreeBytes()
	if err == nil && free < leastFree {
		err = fmt.Errorf("%d KiB are free in %s, and it needs %d KiB: %w", free>>10, filepath.Dir(f.path), leastFree>>10, unix.ENOSPC)
	}
	if err != nil {
		return unwritable(f.path, err)
	}
	return nil
}

// FreeBytes is the free space of the file system of the database.
func (f *File) FreeBytes() (int64, error) { return freeBytes(filepath.Dir(f.path)) }

// Directory is the directory of the database.
func (f *File) Directory() string { return filepath.Dir(f.path) }

// SetAside lists the damaged databases that are kept beside the one at path, until somebody removes them.
func SetAside(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		if matched, _ := filepath.Match(globEscape(filepath.Base(path))+asideInfix+"*", e.Name()); matched {
			list = append(list, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return list, nil
}

// SetAside lists the damaged databases that are kept beside this one.
func (f *File) SetAside() ([]string, error) { return SetAside(f.path) }
