package repository

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// Space is the room of a file system.
type Space struct {
	Free, Total      uint64 // bytes; Free is what an unprivileged user may still write, as the exporters' user is one
	Files, FreeFiles uint64 // inodes; 0 and 0 where the file system does not count them
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

// SpaceAt asks the file system that a path lies on.
func SpaceAt(path string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Space{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return spaceOf(st), nil
}

// spaceOf is what statfs(2) tells. It counts in fragments (f_frsize), which are smaller than the blocks (f_bsize) in which the
// file system likes to be read: on FUSE 1 MiB and 4 KiB are usual. A kernel that does not tell the one gives 0.
func spaceOf(st unix.Statfs_t) Space {
	unit := uint64(max(st.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(st.Bsize, 0))
	}
	// Where more than what is free is kept for root, some file systems give a number below zero.
	free := st.Bavail
	if free > st.Bfree {
		free = 0
	}
	return Space{Free: free * unit, Total: st.Blocks * unit, Files: st.Files, FreeFiles: st.Ffree}
}
