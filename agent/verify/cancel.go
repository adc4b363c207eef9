package verify

import (
	"context"
	"errors"

	"github.com/sendense/backup-agent/agent/fault"
	"github.com/sendense/backup-agent/agent/job"
)

// errVerifyCancelled is the cause of a verification that was canceled by request.
var errVerifyCancelled = errors.New("cancelled by request")

// Cancel cancels the requested verifications of a restore point for all who wait for them, and reports whether there were any. It
// returns when they no longer pin the chain.
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

// Active returns how many verifications are in progress, by repository.
func (s *Service) Active() map[string]int {
	s.verifying.mu.Lock()
	defer s.verifying.mu.Unlock()
	count := map[string]int{}
	for _, v := range s.verifying.jobs {
		count[v.points[0].Repository]++
	}
	for repository := range s.verifying.next {
		count[repository]++
	}
	return count
}

// ended is the error of a verification that was canceled; nil if it was not.
func (v *Verification) ended() error {
	switch cause := context.Cause(v.ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, errVerifyCancelled):
		return fault.New(fault.WrongState, "backup %s: the verification was canceled", v.request.BackupID).OfBackup(v.request.BackupID).
			WithHint("results of files that it did not finish are unchanged")
	default:
		return job.ErrClosed()
	}
}
