// Package rooted opens, changes and removes what is below an open directory, and never follows a symbolic link. Its errors have whole paths.
package rooted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Descend enters directories, one below the other, without following symbolic links. It returns them all, open.
func Descend(root *os.Root, names ...string) (dirs []*os.Root, err error) {
	at := root
	for _, name := range names {
		dir, err := Enter(at, name)
		if err != nil {
			CloseAll(dirs)
			return nil, err
		}
		dirs, at = append(dirs, dir), dir
	}
	return dirs, nil
}

// CloseAll closes directories.
func CloseAll(dirs []*os.Root) {
	for _, d := range dirs {
		_ = d.Close()
	}
}

// Enter opens a directory right below root. Unlike root.OpenRoot it follows no symbolic link: it checks that it has opened what it
// found before.
func Enter(root *os.Root, name string) (*os.Root, error) {
	want, err := root.Lstat(name)
	if err != nil {
		return nil, Located(root, err)
	}
	if !want.IsDir() {
		return nil, NotPlain(root, want, "directory")
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, Located(root, err)
	}
	got, err := dir.Lstat(".")
	if err == nil && !os.SameFile(want, got) {
		err = fmt.Errorf("%s: was replaced while it was opened", dir.Name())
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return dir, nil
}

// OpenRegular opens a file right below dir for reading. It follows no symbolic link, and does not block if the file is replaced by a
// FIFO meanwhile.
func OpenRegular(dir *os.Root, name string) (*os.File, error) {
	want, err := dir.Lstat(name)
	if err != nil {
		return nil, Located(dir, err)
	}
	if !want.Mode().IsRegular() {
		return nil, NotPlain(dir, want, "regular file")
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, Located(dir, err)
	}
	got, err := f.Stat()
	if err == nil && !os.SameFile(want, got) {
		err = fmt.Errorf("%s: was replaced while it was opened", f.Name())
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// NotPlain is the error for an entry of dir that is not what is wanted there: a "directory" or a "regular file".
func NotPlain(dir *os.Root, found fs.FileInfo, want string) error {
	what := "neither a file nor a directory"
	switch mode := found.Mode(); {
	case mode.Type() == fs.ModeSymlink:
		what = "a symbolic link, which is never followed"
	case mode.IsDir():
		what = "a directory"
	case mode.IsRegular():
		what = "a file"
	}
	return fmt.Errorf("%s: want a %s, this is %s", filepath.Join(dir.Name(), found.Name()), want, what)
}

// Located completes the path in errors of an os.Root, which is relative to it.
func Located(root *os.Root, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path) && !filepath.IsAbs(path.Path):
		return &fs.PathError{Op: path.Op, Path: filepath.Join(root.Name(), path.Path), Err: path.Err}
	case errors.As(err, &link) && !filepath.IsAbs(link.Old):
		return &os.LinkError{
			Op: link.Op, Err: link.Err,
			Old: filepath.Join(root.Name(), link.Old), New: filepath.Join(root.Name(), link.New),
		}
	}
	return err
}
