package job

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// ErrResumed is the cause of an undo that an earlier agent started and this one continues.
var ErrResumed = errors.New("undo resumed")

// StillCancelling returns the error for a caller that stops waiting for the end of a cancel. Its reason is Busy: the backup is still
// being undone.
func StillCancelling(id string, cause error) error {
	return fault.New(fault.Busy, "backup %s: stopped waiting for its end: %w", id, cause).OfBackup(id).
		WithHint("the cancel continues: ask for the backup later")
}

// FailureOf returns an error as a record stores it.
func FailureOf(err error) *record.Failure {
	if errors.Is(err, ErrStopping) {
		err = fault.New(fault.ShuttingDown, "the agent was stopped before the SNA was asked")
	}
	return fault.From(err).Failure()
}
