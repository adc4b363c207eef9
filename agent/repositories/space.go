package repositories

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// CheckSpace fails when the file system of a repository has less than the least free that the key of the configuration
// says.
func CheckSpace(repo *repository.Repository, least config.Size, key string) error {
	space, err := repo.Space()
	if err != nil {
		return Fault(err)
	}
	if space.Free >= uint64(least.Bytes()) {
		return nil
	}
	e := fault.New(fault.NoSpace, "repository %s has %d MiB free, less than %s (%s)", repo.ID, space.Free>>20, least, key)
	e.Hint = "free space in the repository, or use another one"
	return e
}

// IsNoSpace says whether an error is about a full disk, also when it comes in the words of a program.
func IsNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// Fault translates an error of a repository for a caller.
func Fault(err error) error {
	if fault.Unwritable(err) {
		return fault.From(err)
	}
	if IsNoSpace(err) {
		e := fault.New(fault.NoSpace, "%w", err)
		e.Hint = "free space in the repository, or use another one"
		return e
	}
	e := fault.New(fault.RepositoryFailed, "%w", err)
	var shared *overlap.Error
	if errors.As(err, &shared) {
		e.Hint = "correct one of the two paths or mounts, then restart the daemon"
		return e
	}
	if errors.Is(err, unix.EROFS) {
		e.Hint = "the daemon may write to the repositories that were configured when systemd last read its units: run " +
			"'systemctl daemon-reload', then 'systemctl restart sendense-agent'; if that changes nothing, the file system itself is read-only"
		return e
	}
	e.Hint = "the repository must be mounted and writable by the agent"
	return e
}

// DetectIO finds out, before the first backup needs it, how images of a repository are read and written, and says so once. One
// that is away now is looked at when a backup needs it.
func (s *Set) DetectIO(r *repository.Repository) {
	mode, reason, err := r.DetectIO()
	switch {
	case err != nil:
		s.Log.Warn("repository cannot be written", logkey.Repository, r.ID, logkey.Error, err)
	case reason != "":
		s.Log.Warn("repository does not support QEMU's fastest I/O mode", logkey.Repository, r.ID, logkey.Cache, mode.Cache, logkey.AIO, mode.AIO, logkey.Reason, reason)
	default:
		s.Log.Info("repository supports QEMU's fastest I/O mode", logkey.Repository, r.ID, logkey.Cache, mode.Cache, logkey.AIO, mode.AIO)
	}
}
