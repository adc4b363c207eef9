package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/nbd/fileuser"
	"github.com/sendense/backup-agent/nbd/qcow2"
)

// open opens a file by a path that checkPath has accepted. It never follows a symbolic link in the last name, and below one of the
// Roots it follows none at all. (openat2 would do that in one call, but systemd's RestrictSUIDSGID denies it to the daemon.)
func (t Tools) open(path string, flags int, mode uint32) (*os.File, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	root := t.rootOf(path)
	if root == "" {
		fd, err := unix.Open(path, flags, mode)
		return opened(fd, path, err)
	}
	const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	dir, err := unix.Open(root, dirFlags, 0) // the path of the root itself is trusted
	names := strings.Split(strings.TrimPrefix(path[len(root):], "/"), "/")
	for i, name := range names[:len(names)-1] {
		if err != nil {
			break
		}
		parent := dir
		dir, err = unix.Openat(parent, name, dirFlags|unix.O_NOFOLLOW, 0)
		_ = unix.Close(parent)
		root = filepath.Join(root, names[i])
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("%s is not a directory (symbolic links are not followed): %w", root, err)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written
	fd, err := unix.Openat(dir, names[len(names)-1], flags, mode)
	return opened(fd, path, err)
}

func opened(fd int, path string, err error) (*os.File, error) {
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// rootOf returns the innermost of the Roots that contains a path, or "".
func (t Tools) rootOf(path string) string {
	innermost := ""
	for _, root := range t.Roots {
		root = filepath.Clean(root)
		if strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/") && len(root) > len(innermost) {
			innermost = root
		}
	}
	return innermost
}

// openImage opens an image for reading and checks it before QEMU sees it: it is a regular file and holds its own data. qemu-img may
// then open this very file and no other.
func (t Tools) openImage(path string) (file *os.File, stat fs.FileInfo, info qcow2.Info, err error) {
	err = fileuser.Do(t.Credential, func() (err error) {
		// O_NONBLOCK: a FIFO in the place of an image must not block us.
		if file, err = t.open(path, os.O_RDONLY|unix.O_NONBLOCK, 0); err != nil {
			return err
		}
		if stat, err = file.Stat(); err == nil {
			info, err = qcow2.ReadInfo(file, stat)
		}
		if err != nil {
			_ = file.Close()
		}
		return err
	})
	if err != nil {
		return nil, nil, info, fmt.Errorf("image %s: %w", path, err)
	}
	return file, stat, info, nil
}
