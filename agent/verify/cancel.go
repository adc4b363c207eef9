package verify

import (
	"context"
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
)

// errVerifyCancelled is the cause of a verification that somebody asked to cancel.
var errVerifyCancelled = errors.New("cancelled by request")

// Cancel ends the verifications of a restore point that were asked for, for everybody who waits for them, and says whether
// there were any. It returns when nothing of the chain is pinned by them any more.
func (s *Service) Cancel(ctx context.Context, id string) (bool, error) {
	s.verifying.mu.Lock()
	var found []*Verification
	for key, v := range s.verifying.jobs {
		if key.backupID == id {
			found = append(found, v)
		}
	}
	s.verifying.mu.Unlock()
	for _, v := range found {
		v.cancel(errVerifyCancelled)
	}
	for _, v := range found {
		select {
		case <-v.done:
		case <-ctx.Done():
			return true, job.StillCancelling(id, ctx.Err())
		}
	}
	return len(found) > 0, nil
}

// ended is the error of a verification that was ended before it came to its end.
func (v *Verification) ended() error {
	switch cause := context.Cause(v.ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, errVerifyCancelled):
		e := fault.New(fault.WrongState, "backup %s: the verification was canceled", v.request.BackupID)
		e.BackupID, e.Hint = v.request.BackupID, "results of files that it did not finish are unchanged"
		return e
	default:
		return job.ErrClosed()
	}
}
