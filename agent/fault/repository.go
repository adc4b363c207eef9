package fault

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/agent/storage"
)

// StuckHint says what to do about a repository that does not answer.
const StuckHint = "look at the storage and its mount: 'findmnt', 'dmesg', the network. Nothing else waits for this repository. The agent " +
	"continues by itself when it answers again"

// OfRepository returns an error about a repository, with a hint: it is stuck, full, or fails.
func OfRepository(err error) *Error {
	reason, hint := ofRepository(err)
	return New(reason, "%w", err).WithHint(hint)
}

// IsNoSpace reports whether an error is about a full disk, also if it is the output of a program.
func IsNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// ofRepository returns the reason of an error of a repository, and what to do about it.
func ofRepository(err error) (Reason, string) {
	var shared *overlap.Error
	switch {
	case storage.IsStuck(err):
		return RepositoryStuck, StuckHint
	case errors.Is(err, storage.ErrClosed) || errors.Is(err, ErrStopping):
		return ShuttingDown, "try again after the restart"
	case IsNoSpace(err):
		return NoSpace, "free space in the repository, or use another one"
	case errors.As(err, &shared):
		return RepositoryFailed, "correct one of the two paths or mounts, then restart the daemon"
	case errors.Is(err, unix.EROFS):
		return RepositoryFailed, "mount the file system writable; the kernel's log may say why it is read-only"
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return RepositoryFailed, "the agent must be able to write to the repository and to give files to the exporter user; an NFS server must " +
			"export it with no_root_squash"
	case errors.Is(err, unix.ESTALE):
		return RepositoryFailed, "the NFS server has replaced or removed the exported directory: unmount the repository and mount it again"
	case errors.Is(err, unix.EIO):
		return RepositoryFailed, "a disk or the file server of the repository fails: read the kernel's log ('dmesg') and check its disks"
	}
	return RepositoryFailed, "the repository must be mounted and writable by the agent"
}
