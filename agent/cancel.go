package agent

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// CancelVerify stops the verifications of a restore point that were asked for, for all callers that wait for them. What they did
// not finish is on record as before. It returns when they have ended, or when ctx ends, which stops nothing. Without a
// verification in progress that is the wrong state.
func (a *Agent) CancelVerify(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.Verifications.Cancel(ctx, id)
	return a.afterCancel(id, "verification", found, err)
}

// CancelMerge stops the merge of a restore point, which stays as it is, unless the merge was just committed. It returns when the
// merge has ended, or when ctx ends, which stops nothing. Without a merge in progress that is the wrong state.
func (a *Agent) CancelMerge(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.Merges.Cancel(ctx, id)
	return a.afterCancel(id, "merge", found, err)
}

// afterCancel is the restore point whose work was canceled, or the error when there was none to cancel.
func (a *Agent) afterCancel(id, work string, found bool, cause error) (record.Backup, error) {
	if cause != nil {
		return record.Backup{}, cause
	}
	b, err := a.Records.Backup(id)
	if err != nil || found {
		return b, err
	}
	return b, fault.New(fault.WrongState, "backup %s: no %s of it is in progress", id, work).OfBackup(id)
}
