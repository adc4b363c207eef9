package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A place is where a copy is made. It gets its name when it is whole; until then it lies in a directory beside it that nobody
// else can look into.
type place struct {
	path    string // as it will be
	scratch string
}

// findPlace says where a copy goes: to a name that is not there, or into a directory, under its own name.
func findPlace(to, source string) (*place, error) {
	absolute, err := filepath.Abs(to)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(absolute)
	switch {
	case err == nil && info.IsDir():
		name := path.Base(source)
		if name == "/" || !filepath.IsLocal(name) {
			return nil, fmt.Errorf("%s is a directory: say which name the copy of %s is to have in it", to, source)
		}
		absolute = filepath.Join(absolute, name)
		if _, err = os.Lstat(absolute); err == nil {
			return nil, fmt.Errorf("%s is there already: choose another name", absolute)
		}
	case err == nil:
		return nil, fmt.Errorf("%s is there already: choose another name", to)
	default:
		if _, there := os.Lstat(absolute); there == nil {
			return nil, fmt.Errorf("%s is a link to what is not there: choose another name", to)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if info, err = os.Stat(filepath.Dir(absolute)); err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is no directory", filepath.Dir(absolute))
	}
	// It would be found out by itself, but only when the reader has started, which takes a while.
	if err := unix.Access(filepath.Dir(absolute), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("nothing can be made in %s: %w", filepath.Dir(absolute), err)
	}
	return &place{path: absolute}, nil
}

// open makes the directory in which the copy is made.
func (p *place) open() (*os.Root, error) {
	var err error
	if p.scratch, err = os.MkdirTemp(filepath.Dir(p.path), ".sendensectl-files-"); err != nil {
		return nil, err
	}
	return os.OpenRoot(p.scratch)
}

// copied is the name that a copy has until it is whole.
const copied = "copy"

// commit gives the copy its name, unless somebody else has taken it.
func (p *place) commit() error {
	from := filepath.Join(p.scratch, copied)
	info, err := os.Lstat(from)
	if err != nil || !info.IsDir() {
		return errors.Join(err, renameNew(from, p.path))
	}
	// Who moves a directory to another has to write its "..", which the mode that it got may forbid.
	if err := os.Chmod(from, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(from)
	if err != nil {
		return err
	}
	defer dir.Close()
	return errors.Join(renameNew(from, p.path), dir.Chmod(info.Mode().Perm()))
}

// renameNew gives something a name that nobody has taken.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) { // as of NFS
		if _, there := os.Lstat(to); errors.Is(there, fs.ErrNotExist) {
			return os.Rename(from, to)
		}
		err = unix.EEXIST
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s is there by now: choose another name", to)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// close removes what is not whole.
func (p *place) close() error {
	if p.scratch == "" {
		return nil
	}
	// Directories that their owner may not write keep what is in them.
	_ = filepath.WalkDir(p.scratch, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(p.scratch)
}
