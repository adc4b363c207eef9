package job

import (
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// StillCancelling is what a caller is told who does not wait for the end.
func StillCancelling(id string, cause error) error {
	e := fault.New(fault.Internal, "backup %s: stopped waiting for its end: %w", id, cause)
	e.BackupID, e.Hint = id, "the cancel continues: ask for the backup later"
	return e
}

// FailureOf is an error as the record keeps it.
func FailureOf(err error) *record.Failure {
	if errors.Is(err, ErrStopping) {
		err = fault.New(fault.ShuttingDown, "the agent was stopped before the SNA was asked")
	}
	return fault.From(err).Failure()
}
