package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
	if _, err := os.Lstat(p.path); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there by now: choose another name", p.path)
	}
	return os.Rename(filepath.Join(p.scratch, copied), p.path)
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
