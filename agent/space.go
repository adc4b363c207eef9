package agent

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/repository"
	"github.com/sendense/backup-agent/agent/repository/overlap"
)

// checkSpace fails when the file system of a repository has less than the least free that the key of the configuration
// says.
func checkSpace(repo *repository.Repository, least config.Size, key string) error {
	space, err := repo.Space()
	if err != nil {
		return repositoryError(err)
	}
	if space.Free >= uint64(least.Bytes()) {
		return nil
	}
	e := errorf(NoSpace, "repository %s has %d MiB free, less than the %s of %s", repo.ID, space.Free>>20, least, key)
	e.Hint = "make room in the repository, or use another one"
	return e
}

// isNoSpace says whether an error is about a full disk, also when it comes in the words of a program.
func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// repositoryError translates an error of a repository for a caller.
func repositoryError(err error) error {
	if unwritable(err) {
		return AsError(err)
	}
	if isNoSpace(err) {
		e := errorf(NoSpace, "%w", err)
		e.Hint = "make room in the repository, or use another one"
		return e
	}
	e := errorf(RepositoryFailed, "%w", err)
	var shared *overlap.Error
	if errors.As(err, &shared) {
		e.Hint = "correct the path of one of the two, or what is mounted there; then restart the daemon"
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

// detectIO finds out, before the first backup needs it, how images of a repository are read and written, and says so once. One
// that is away now is looked at when a backup needs it.
func (a *Agent) detectIO(r *repository.Repository) {
	mode, reason, err := r.DetectIO()
	switch {
	case err != nil:
		a.log.Warn("repository cannot be written", logRepository, r.ID, logError, err)
	case reason != "":
		a.log.Warn("repository is written in a slower way than QEMU could", logRepository, r.ID, logCache, mode.Cache, logAIO, mode.AIO, logReason, reason)
	default:
		a.log.Info("repository is written in the fastest way", logRepository, r.ID, logCache, mode.Cache, logAIO, mode.AIO)
	}
}
