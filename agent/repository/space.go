package repository

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Space is how large a file system is, and how much of it is free.
type Space struct {
	Free, Total      uint64 // bytes; Free is what an unprivileged user, such as the exporters', may still write
	Files, FreeFiles uint64 // inodes; both 0 if the file system does not count them
}

// Space asks the file system of the repository.
func (r *Repository) Space() (Space, error) {
	if r.guard != nil {
		root, err := r.open()
		if err != nil {
			return Space{}, r.fail(err)
		}
		_ = root.Close()
	}
	space, err := SpaceAt(r.Path)
	return space, r.fail(err)
}

// ErrNoRoom: the file system of a repository has less free space than it should keep.
var ErrNoRoom = errors.New("no room")

// Room returns ErrNoRoom if less than reserve, in bytes, is free. A file system that does not tell has room.
func (r *Repository) Room(reserve int64) error {
	space, err := r.Space()
	if err != nil || space.Free >= uint64(max(reserve, 0)) {
		return nil
	}
	return fmt.Errorf("repository %s: %w: %d bytes are free, less than %d", r.ID, ErrNoRoom, space.Free, reserve)
}

// SpaceAt asks the file system that a path lies on.
func SpaceAt(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return spaceOf(st), nil
}

// spaceOf converts the answer of statfs(2). It counts in fragments (f_frsize), which may be smaller than the preferred block size
// (f_bsize): on FUSE 4 KiB and 1 MiB are usual. Old kernels leave f_frsize 0.
func spaceOf(st unix.Statfs_t) Space {
	unit := uint64(max(st.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(st.Bsize, 0))
	}
	// If more is reserved for root than is free, some file systems return a negative number.
	free := st.Bavail
	if free > st.Bfree {
		free = 0
	}
	return Space{Free: free * unit, Total: st.Blocks * unit, Files: st.Files, FreeFiles: st.Ffree}
}
