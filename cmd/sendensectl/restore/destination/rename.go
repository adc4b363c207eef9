package destination

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// renameNew renames a file. It fails if the new name exists.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) { // for example NFS
		if _, there := os.Lstat(to); errors.Is(there, fs.ErrNotExist) {
			return os.Rename(from, to)
		}
		err = unix.EEXIST
	}
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s was created meanwhile: choose another name", to)
	case err != nil:
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
