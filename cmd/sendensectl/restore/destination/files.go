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

// A Files is the destination of copied files. The copy gets its name when it is complete. Until then it is in a directory beside
// it that only its owner can enter.
type Files struct {
	Path    string // absolute; the final name
	scratch string
}

// FindFiles finds the final name of a copy: a new name, or the name of the source in an existing directory.
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
			return nil, fmt.Errorf("%s is a directory: add the name that the copy of %s gets in it", to, source)
		}
		absolute = filepath.Join(absolute, name)
		if _, err = os.Lstat(absolute); err == nil {
			return nil, fmt.Errorf("%s exists: choose another name", absolute)
		}
	case err == nil:
		return nil, fmt.Errorf("%s exists: choose another name", to)
	default:
		if _, there := os.Lstat(absolute); there == nil {
			return nil, fmt.Errorf("%s is a symbolic link to a missing file: choose another name", to)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if info, err = os.Stat(filepath.Dir(absolute)); err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", filepath.Dir(absolute))
	}
	// Check now: the copy itself begins only after the slow start of the reader.
	if err := unix.Access(filepath.Dir(absolute), unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("%s cannot be written: %w", filepath.Dir(absolute), err)
	}
	return &Files{Path: absolute}, nil
}

// Open makes the directory in which the copy is written.
func (p *Files) Open() (*os.Root, error) {
	var err error
	if p.scratch, err = os.MkdirTemp(filepath.Dir(p.Path), ".sendensectl-files-"); err != nil {
		return nil, err
	}
	return os.OpenRoot(p.scratch)
}

// Copied is the name of a copy until it is complete.
const Copied = "copy"

// Commit gives the copy its name. It fails if something else took the name meanwhile.
func (p *Files) Commit() error {
	from := filepath.Join(p.scratch, Copied)
	info, err := os.Lstat(from)
	if err != nil || !info.IsDir() {
		return errors.Join(err, renameNew(from, p.Path))
	}
	// A move of a directory writes its "..". Its mode may forbid that.
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

// Close removes a copy that is not committed.
func (p *Files) Close() error {
	if p.scratch == "" {
		return nil
	}
	// A directory that its owner cannot write cannot be emptied.
	_ = filepath.WalkDir(p.scratch, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(p.scratch)
}
