package repository

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A place is the directory of one backup, with the directories above it.
type place struct {
	root, vm, dir *os.Root
}

// enter opens the directory of a backup. The error is fs.ErrNotExist if it is missing, and ErrMidMerge if it has another name because
// the commit of a merge is not completed.
func (r *tree) enter(root *os.Root, vm, backupID string) (*place, error) {
	if err := checkNames(vm, backupID); err != nil {
		return nil, err
	}
	dirs, err := descend(root, vm, backupID)
	if errors.Is(err, fs.ErrNotExist) {
		if mid := checkMidMerge(root, vm, backupID); mid != nil {
			return nil, mid
		}
		dirs, err = descend(root, vm, backupID) // a commit may have been completed meanwhile
	}
	if err != nil {
		return nil, err
	}
	return &place{root: root, vm: dirs[0], dir: dirs[1]}, nil
}

// checkMidMerge returns ErrMidMerge if the commit of a merge is not completed.
func checkMidMerge(root *os.Root, vm, backupID string) error {
	dir, err := enter(root, vm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	mid, err := midMerge(dir, backupID)
	if mid {
		err = fmt.Errorf("%s: %w", filepath.Join(dir.Name(), backupID), ErrMidMerge)
	}
	return err
}

// descend enters directories, one below the other, without following symbolic links. It returns them all, open.
func descend(root *os.Root, names ...string) (dirs []*os.Root, err error) {
	at := root
	for _, name := range names {
		dir, err := enter(at, name)
		if err != nil {
			closeAll(dirs)
			return nil, err
		}
		dirs, at = append(dirs, dir), dir
	}
	return dirs, nil
}

func closeAll(dirs []*os.Root) {
	for _, d := range dirs {
		_ = d.Close()
	}
}

// within calls f with the repository and the named directories, one below the other.
func (r *tree) within(f func(dirs []*os.Root) error, names ...string) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dirs, err := descend(root, names...)
	if err != nil {
		return err
	}
	defer closeAll(dirs)
	return f(append([]*os.Root{root}, dirs...))
}

// ifThere is within, but does nothing if one of the named directories is missing. A missing repository is an error, because it looks
// like one in which nothing is left.
func (r *tree) ifThere(f func(dirs []*os.Root) error, names ...string) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dirs, err := descend(root, names...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeAll(dirs)
	return f(append([]*os.Root{root}, dirs...))
}

// at calls f with the directory of a backup.
func (r *tree) at(vm, backupID string, f func(p *place) error) error {
	root, err := r.open()
	if err != nil {
		return err
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	if err != nil {
		return err
	}
	defer p.close()
	return f(p)
}

// Exists says whether a backup has a directory here, also while the commit of its merge is not completed. A missing repository is an
// error.
func (r *Repository) Exists(vm, backupID string) (bool, error) {
	root, err := r.open()
	if err != nil {
		return false, r.fail(err)
	}
	defer root.Close()
	p, err := r.enter(root, vm, backupID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, ErrMidMerge):
		return true, nil
	case err != nil:
		return false, r.fail(err)
	}
	p.close()
	return true, nil
}

func (p *place) close() {
	_ = p.dir.Close()
	_ = p.vm.Close()
}

// enter opens a directory right below root. Unlike root.OpenRoot it follows no symbolic link: it checks that it has opened what it
// found before.
func enter(root *os.Root, name string) (*os.Root, error) {
	want, err := root.Lstat(name)
	if err != nil {
		return nil, located(root, err)
	}
	if !want.IsDir() {
		return nil, notPlain(root, want, "directory")
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return nil, located(root, err)
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

// openRegular opens a file right below dir for reading. It follows no symbolic link, and does not block if the file is replaced by a
// FIFO meanwhile.
func openRegular(dir *os.Root, name string) (*os.File, error) {
	want, err := dir.Lstat(name)
	if err != nil {
		return nil, located(dir, err)
	}
	if !want.Mode().IsRegular() {
		return nil, notPlain(dir, want, "regular file")
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, located(dir, err)
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

func notPlain(dir *os.Root, found fs.FileInfo, want string) error {
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

// located completes the path in errors of an os.Root, which is relative to it.
func located(root *os.Root, err error) error {
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

// ownerOf is the owner of a file.
func ownerOf(info fs.FileInfo) int { return int(statOf(info).Uid) }

func statOf(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// allocated is how many bytes a file takes on the disk. stat counts in units of 512 on every file system.
func allocated(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// chmod sets the mode of an open directory, if it is different.
func chmod(dir *os.Root, mode fs.FileMode) error {
	return self(dir, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm() == mode {
			return err
		}
		return f.Chmod(mode)
	})
}

func chown(dir *os.Root, uid, gid int) error {
	return self(dir, func(f *os.File) error { return f.Chown(uid, gid) })
}

// syncDir syncs the entries of a directory. Some network file systems refuse that: they write entries synchronously.
func syncDir(dir *os.Root) error {
	return self(dir, func(f *os.File) error {
		err := f.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		return err
	})
}

// self calls f with the directory itself, open for reading.
func self(dir *os.Root, f func(*os.File) error) error {
	d, err := dir.Open(".")
	if err != nil {
		return located(dir, err)
	}
	defer d.Close()
	return f(d)
}
