package repositories

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/repository/overlap"
	"github.com/sendense/backup-agent/agent/storage"
	"github.com/sendense/backup-agent/nbd/qemu"
)

// CheckSpace fails with reason NoSpace if the file system of a repository has less free space than least. key is the setting that least
// comes from, for the message.
func CheckSpace(ctx context.Context, repo *storage.Repository, least config.Size, key string) error {
	space, err := repo.Space(ctx)
	if err != nil {
		return Fault(err)
	}
	if space.Free >= uint64(least.Bytes()) {
		return nil
	}
	return fault.New(fault.NoSpace, "repository %s has %d MiB free, less than %s (%s)", repo.ID, space.Free>>20, least, key).
		WithHint("free space in the repository, or use another one")
}

// IsNoSpace reports whether an error is about a full disk, also if it is the output of a program.
func IsNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// StuckHint says what to do about a repository that does not answer.
const StuckHint = "look at the storage and its mount: 'findmnt', 'dmesg', the network. Nothing else waits for this repository. The agent " +
	"continues by itself when it answers again"

// Fault translates an error of a repository for a caller, with a hint.
func Fault(err error) error {
	if fault.Unwritable(err) {
		return fault.From(err)
	}
	if storage.IsStuck(err) {
		return fault.New(fault.RepositoryStuck, "%w", err).WithHint(StuckHint)
	}
	if IsNoSpace(err) {
		return fault.New(fault.NoSpace, "%w", err).WithHint("free space in the repository, or use another one")
	}
	e := fault.New(fault.RepositoryFailed, "%w", err)
	var shared *overlap.Error
	if errors.As(err, &shared) {
		e.Hint = "correct one of the two paths or mounts, then restart the daemon"
		return e
	}
	if errors.Is(err, unix.EROFS) {
		e.Hint = "mount the file system writable; the kernel's log may say why it is read-only"
		return e
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		e.Hint = "the agent must be able to write to the repository and to give files to the exporter user; an NFS server must export it " +
			"with no_root_squash"
		return e
	}
	e.Hint = "the repository must be mounted and writable by the agent"
	return e
}

// StuckOr returns the error for a repository that does not answer, if that is why ctx has ended; otherwise err.
func StuckOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); storage.IsStuck(cause) {
		return Fault(cause)
	}
	return err
}

// DetectIO finds out, before the first backup needs it, which I/O mode of QEMU a repository supports, and logs it once. One that is not
// available now is checked when a backup needs it.
func (s *Set) DetectIO(ctx context.Context, r *storage.Repository) {
	mode, reason, err := r.Images(qemu.Secret{}).DetectIO(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.Log.Warn("repository cannot be written", logkey.Repository, r.ID, logkey.Error, err)
	case reason != "":
		s.Log.Warn("repository does not support QEMU's fastest I/O mode", logkey.Repository, r.ID, logkey.Cache, mode.Cache,
			logkey.AIO, mode.AIO, logkey.Reason, reason)
	default:
		s.Log.Info("repository supports QEMU's fastest I/O mode", logkey.Repository, r.ID, logkey.Cache, mode.Cache, logkey.AIO, mode.AIO)
	}
}
