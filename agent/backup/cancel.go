package backup

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/record"
)

// Cancel cancels an active backup: it stops the exports, which is the only way to stop SBC, and undoes everything. It returns when
// that is done. If ctx ends earlier, the cancel continues. Canceling a canceled backup is no error. A backup that ended otherwise
// is in the wrong state.
//
// Deprecated for restore points: for one that is being merged it does the same as CancelMerge; otherwise, for one that is being verified
// on request, the same as CancelVerify.
func (s *Service) Cancel(ctx context.Context, id string) (record.Backup, error) {
	if b, err := s.Store.Backup(id); err == nil && b.State.Active() && !b.PublishingAt.IsZero() {
		return b, fault.New(fault.WrongState, "backup %s: too late to cancel, its restore point is being written", id).OfBackup(id)
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
	j, err := s.waitJob(ctx, id)
	if err != nil {
		return record.Backup{}, job.StillCancelling(id, err)
	}
	if j != nil {
		if err := j.End(ctx, errCancelled); err != nil {
			return record.Backup{}, job.StillCancelling(id, err)
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
