package rooted

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Chmod sets the mode of an open directory, if it is different.
func Chmod(dir *os.Root, mode fs.FileMode) error {
	return Self(dir, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm() == mode {
			return err
		}
		return f.Chmod(mode)
	})
}

// Chown gives an open directory to an owner.
func Chown(dir *os.Root, uid, gid int) error {
	return Self(dir, func(f *os.File) error { return f.Chown(uid, gid) })
}

// Sync syncs the entries of a directory. Some network file systems refuse that: they write entries synchronously.
func Sync(dir *os.Root) error {
	return Self(dir, func(f *os.File) error {
		err := f.Sync()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			return nil
		}
		return err
	})
}

// Self calls f with the directory itself, open for reading.
func Self(dir *os.Root, f func(*os.File) error) error {
	d, err := dir.Open(".")
	if err != nil {
		return Located(dir, err)
	}
	defer d.Close()
	return f(d)
}

// MakeWritable lets the owner of an open directory change it.
func MakeWritable(dir *os.Root) error {
	return Self(dir, func(f *os.File) error {
		info, err := f.Stat()
		if err != nil || info.Mode().Perm()&0o700 == 0o700 {
			return err
		}
		return f.Chmod(info.Mode().Perm() | 0o700)
	})
}

// RemoveTree removes a directory right below parent with all its contents. It removes symbolic links as links. If something is mounted
// in it, it removes nothing: that is not part of the repository.
func RemoveTree(parent *os.Root, name string) error {
	dir, err := Enter(parent, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = CheckMounts(dir)
	_ = dir.Close()
	if err != nil {
		return err
	}
	return Located(parent, parent.RemoveAll(name))
}

// CheckMounts returns an error if something is mounted on a directory or below it. A bind mount is on the same device as what it hides,
// so only the kernel can tell.
func CheckMounts(dir *os.Root) error {
	return fs.WalkDir(dir.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was removed meanwhile
		}
		if err != nil {
			return Located(dir, err)
		}
		within, name := dir, path
		if at := strings.LastIndexByte(path, '/'); at >= 0 {
			if within, err = dir.OpenRoot(path[:at]); err != nil {
				return Located(dir, err)
			}
			defer within.Close()
			name = path[at+1:]
		}
		var st unix.Statx_t
		err = Self(within, func(f *os.File) error {
			return unix.Statx(int(f.Fd()), name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
		})
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			err = fmt.Errorf("%s: something is mounted there, so nothing is removed: unmount it", filepath.Join(dir.Name(), path))
		}
		return err
	})
}

// CopyFile copies an open file into a directory under its name. The kernel shares the blocks where it can. The caller seals and syncs it.
func CopyFile(from *os.File, to *os.Root, name string) error {
	f, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return Located(to, err)
	}
	_, err = io.Copy(f, from)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("copy of %s: %w", filepath.Join(to.Name(), name), err)
	}
	return nil
}
