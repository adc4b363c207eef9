package agent

import (
	"context"

	"github.com/sendense/backup-agent/agent/record"
)

// CancelBackup cancels an active backup: its exports are stopped, which is the only way to stop SBC, and everything is undone. It
// returns when that is done, or when ctx ends, which stops nothing. To cancel a backup that is already cancelled is no error; one
// that has ended otherwise is in the wrong state.
//
// Deprecated for restore points: of one that is being merged it does as CancelMerge, otherwise, of one that is being verified by
// request, as CancelVerify.
func (a *Agent) CancelBackup(ctx context.Context, id string) (record.Backup, error) {
	if b, err := a.store.Backup(id); err == nil && b.State.Active() && !b.PublishingAt.IsZero() {
		e := errorf(WrongState, "backup %s: its restore point is being written, so it is too late to cancel", id)
		e.BackupID = id
		return b, e
	}
	found, err := a.cancelRewrite(ctx, id)
	if !found {
		found, err = a.cancelVerify(ctx, id)
	}
	if found {
		if err != nil {
			return record.Backup{}, err
		}
		return a.Backup(id)
	}
	r, err := a.settledRun(ctx, id)
	if err != nil {
		return record.Backup{}, stillCancelling(id, err)
	}
	if r != nil {
		r.cancel(errCancelled)
		select {
		case <-r.done:
		case <-ctx.Done():
			return record.Backup{}, stillCancelling(id, ctx.Err())
		}
	}
	b, err := a.Backup(id)
	if err != nil {
		return b, err
	}
	if b.State == record.Cancelled {
		return b, nil
	}
	e := errorf(WrongState, "backup %s is %s: only an active backup can be cancelled", id, b.State)
	e.BackupID = id
	if b.State.Active() {
		e = errorf(ShuttingDown, "backup %s is %s and the agent is stopping: cancel it again when the agent is back", id, b.State)
	}
	return b, e
}

// stillCancelling is what a caller is told who does not wait for the end.
func stillCancelling(id string, cause error) error {
	e := errorf(Internal, "backup %s: its end was not waited for: %w", id, cause)
	e.BackupID, e.Hint = id, "it is being cancelled all the same: ask for it later"
	return e
}

// CancelVerify stops the verifications of a restore point that were asked for, for all callers that wait for them. What they did
// not finish is on record as before. It returns when they have ended, or when ctx ends, which stops nothing. Without a
// verification in progress that is the wrong state.
func (a *Agent) CancelVerify(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.cancelVerify(ctx, id)
	return a.afterCancel(id, "verification", found, err)
}

// CancelMerge stops the merge of a restore point, which stays as it is, unless the merge was just committed. It returns when the
// merge has ended, or when ctx ends, which stops nothing. Without a merge in progress that is the wrong state.
func (a *Agent) CancelMerge(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.cancelRewrite(ctx, id)
	return a.afterCancel(id, "merge", found, err)
}

// afterCancel is the restore point whose work was canceled, or the error when there was none to cancel.
func (a *Agent) afterCancel(id, work string, found bool, cause error) (record.Backup, error) {
	if cause != nil {
		return record.Backup{}, cause
	}
	b, err := a.Backup(id)
	if err != nil || found {
		return b, err
	}
	e := errorf(WrongState, "backup %s: no %s of it is in progress", id, work)
	e.BackupID = id
	return b, e
}
