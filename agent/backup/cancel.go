package backup

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/record"
)

// Cancel cancels an active backup: its exports are stopped, which is the only way to stop SBC, and everything is undone. It
// returns when that is done, or when ctx ends, which stops nothing. To cancel a backup that is already cancelled is no error; one
// that has ended otherwise is in the wrong state.
//
// Deprecated for restore points: of one that is being merged it does as CancelMerge, otherwise, of one that is being verified by
// request, as CancelVerify.
func (s *Service) Cancel(ctx context.Context, id string) (record.Backup, error) {
	if b, err := s.Store.Backup(id); err == nil && b.State.Active() && !b.PublishingAt.IsZero() {
		e := fault.New(fault.WrongState, "backup %s: too late to cancel, its restore point is being written", id)
		e.BackupID = id
		return b, e
	}
	found, err := s.Merges.Cancel(ctx, id)
	if !found {
		found, err = s.Verifications.Cancel(ctx, id)
	}
	if found {
		if err != nil {
			return record.Backup{}, err
		}
		return s.Records.Backup(id)
	}
	r, err := s.settledRun(ctx, id)
	if err != nil {
		return record.Backup{}, job.StillCancelling(id, err)
	}
	if r != nil {
		r.Cancel(errCancelled)
		select {
		case <-r.Done:
		case <-ctx.Done():
			return record.Backup{}, job.StillCancelling(id, ctx.Err())
		}
	}
	b, err := s.Records.Backup(id)
	if err != nil {
		return b, err
	}
	if b.State == record.Cancelled {
		return b, nil
	}
	e := fault.New(fault.WrongState, "backup %s is %s: only an active backup can be canceled", id, b.State)
	e.BackupID = id
	if b.State.Active() {
		e = fault.New(fault.ShuttingDown, "backup %s is %s and the agent is stopping: cancel it again after the restart", id, b.State)
	}
	return b, e
}
