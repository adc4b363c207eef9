package agent

import (
	"context"

	"github.com/sendense/backup-agent/agent/backup"
)

// CancelBackup ends an active backup: its exports are stopped, which is the only way to stop SBC, and all is undone. It
// returns when that is done. To cancel a backup that is cancelled already is no error; one that has ended otherwise is
// in the wrong state.
func (a *Agent) CancelBackup(ctx context.Context, id string) (backup.Backup, error) {
	if b, err := a.store.Backup(id); err == nil && b.State.Active() && !b.PublishingAt.IsZero() {
		e := errorf(WrongState, "backup %s: its restore point is being written, so it is too late to cancel", id)
		e.BackupID = id
		return b, e
	}
	if r := a.settledRun(id); r != nil {
		r.cancel(errCancelled)
		select {
		case <-r.done:
		case <-ctx.Done():
			return backup.Backup{}, ctx.Err()
		}
	}
	b, err := a.Backup(id)
	if err != nil {
		return b, err
	}
	if b.State == backup.Cancelled {
		return b, nil
	}
	e := errorf(WrongState, "backup %s is %s: only an active backup can be cancelled", id, b.State)
	e.BackupID = id
	if b.State.Active() {
		e = errorf(ShuttingDown, "backup %s is %s and the agent is stopping: cancel it again when the agent is back", id, b.State)
	}
	return b, e
}
