package agent

import (
	"context"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/record"
)

// CancelVerify stops the requested verifications of a restore point, for all callers that wait for them. Results of files that were not
// read yet stay as they were. It returns when the verifications have ended, or when ctx ends, which stops nothing. It fails with reason
// WrongState if no verification is in progress.
func (a *Agent) CancelVerify(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.Verifications.Cancel(ctx, id)
	return a.afterCancel(id, "verification", found, err)
}

// CancelMerge stops the merge of a restore point. The restore point is unchanged, unless the merge was just committed. It returns when
// the merge has ended, or when ctx ends, which stops nothing. It fails with reason WrongState if no merge is in progress.
func (a *Agent) CancelMerge(ctx context.Context, id string) (record.Backup, error) {
	found, err := a.Merges.Cancel(ctx, id)
	return a.afterCancel(id, "merge", found, err)
}

// afterCancel returns the restore point whose work was canceled, or an error if no work was in progress.
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
