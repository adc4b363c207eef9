package repositories

import (
	"context"

	"github.com/sendense/backup-agent/agent/config"
	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/logkey"
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
func IsNoSpace(err error) bool { return fault.IsNoSpace(err) }

// Fault translates an error of a repository for a caller, with a hint.
func Fault(err error) error { return fault.OfRepository(err) }

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
