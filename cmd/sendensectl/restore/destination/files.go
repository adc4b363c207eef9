package destination

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Files is where a copy is made. It gets its name when it is whole; until then it lies in a directory beside it that nobody
// else can look into.
type Files struct {
	Path    string // as it will be
	scratch string
}

// FindFiles says where a copy goes: to a name that is not there, or into a directory, under its own name.
func FindFiles(to, source string) (*Files, error) {
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
	return &Files{Path: absolute}, nil
}

// Open makes the directory in which the copy is made.
func (p *Files) Open() (*os.Root, error) {
	var err error
	if p.scratch, err = os.MkdirTemp(filepath.Dir(p.Path), ".sendensectl-files-"); err != nil {
		return nil, err
	}
	return os.OpenRoot(p.scratch)
}

// Copied is the name that a copy has until it is whole.
const Copied = "copy"

// Commit gives the copy its name, unless somebody else has taken it.
func (p *Files) Commit() error {
	from := filepath.Join(p.scratch, Copied)
	info, err := os.Lstat(from)
	if err != nil || !info.IsDir() {
		return errors.Join(err, renameNew(from, p.Path))
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
	return errors.Join(renameNew(from, p.Path), dir.Chmod(info.Mode().Perm()))
}

// Close removes what is not whole.
func (p *Files) Close() error {
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
