package verify

import (
	"context"
	"errors"
	"time"

	"github.com/sendense/backup-agent/agent/job"
	"github.com/sendense/backup-agent/agent/logkey"
	"github.com/sendense/backup-agent/agent/record"
	"github.com/sendense/backup-agent/agent/store"
)

const (
	// verifyPause is how often the schedule checks whether a verification is due.
	verifyPause = time.Minute
	// verifyRetry is when a verification that failed is tried again.
	verifyRetry = time.Hour
)

// errPreempted is the cause of a verification of the schedule that ends because its restore point is being deleted or merged.
var errPreempted = errors.New("the restore point is being deleted")

// scheduled is the verification of the schedule that is in progress.
type scheduled struct {
	backupID string
	cancel   context.CancelCauseFunc
}

// RunSchedule verifies the restore points of a repository, one at a time, when they are due. The one that was verified longest ago is
// first. The configuration has the intervals, and the records have the times of the verifications, so the schedule survives a restart.
// Each repository has its own schedule: one that hangs delays no other. While a repository is paused, or does not answer, nothing starts.
func (s *Service) RunSchedule(repository string) {
	if s.Config.Verify.Shortest() == 0 {
		return
	}
	tried := map[string]time.Time{} // when a verification last failed, by id
	for {
		worked := false
		for _, deep := range []bool{true, false} {
			p, due := s.dueToVerify(repository, deep, tried)
			if !due {
				continue
			}
			worked = true
			if !s.verifyDue(p, deep) {
				tried[p.ID] = time.Now()
			} else {
				delete(tried, p.ID)
			}
			break
		}
		wait := min(verifyPause, s.Config.Verify.Shortest())
		if worked {
			wait = 0
		}
		if !job.Pause(s.Jobs.Work, wait) {
			return
		}
	}
}

// dueToVerify is the restore point of a repository that was verified longest ago, if it is due. A time in the future is ignored: a clock
// that was wrong once must not delay a verification for years.
func (s *Service) dueToVerify(repository string, deep bool, tried map[string]time.Time) (record.Backup, bool) {
	interval := s.VerifyInterval(deep)
	if interval == 0 || s.Gate.Check(repository) != nil {
		return record.Backup{}, false
	}
	now := time.Now()
	p, found, err := s.Store.LongestUnverified(store.Unverified{
		Deep: deep, Now: now, Repository: repository, Before: now.Add(-interval),
		Pass: func(id string) bool { return time.Since(tried[id]) < verifyRetry },
	})
	if err != nil {
		s.Log.Error("cannot find the next restore point to verify", logkey.Error, err)
		return p, false
	}
	return p, found && now.Sub(record.Believed(p.VerifiedAt(deep), now)) >= interval
}

// VerifyInterval is how often each restore point is verified; 0 for never.
func (s *Service) VerifyInterval(deep bool) time.Duration {
	if deep {
		return s.Config.Verify.DeepInterval.Std()
	}
	return s.Config.Verify.Interval.Std()
}

// verifyDue verifies the files of one restore point, not those of what it is based on: they are due by themselves. It reports whether
// the result is on record.
func (s *Service) verifyDue(p record.Backup, deep bool) bool {
	ctx, cancel := context.WithCancelCause(s.Jobs.Work)
	defer cancel(nil)
	release, err := s.verifying.hold(ctx, p.Repository)
	if err != nil {
		return false
	}
	if p, err = s.restorePoint(p.ID); err == nil {
		s.verifying.mu.Lock()
		s.verifying.next[p.Repository] = &scheduled{p.ID, cancel}
		s.verifying.mu.Unlock()
	}
	release()
	if err != nil {
		return false
	}
	defer func() {
		s.verifying.mu.Lock()
		delete(s.verifying.next, p.Repository)
		s.verifying.mu.Unlock()
	}()
	return s.verifyOne(ctx, p, deep)
}

// VerifyMetadata verifies the metadata of the files of one restore point, and records what it finds.
func (s *Service) VerifyMetadata(ctx context.Context, p record.Backup) { s.verifyOne(ctx, p, false) }

// verifyOne verifies the files of one restore point, and reports whether the result is on record.
func (s *Service) verifyOne(ctx context.Context, p record.Backup, deep bool) bool {
	walk := &verifyWalk{service: s, ctx: ctx, deep: deep, limit: s.limit(0), tell: func(Progress) {}}
	files := walk.point(p)
	if ctx.Err() != nil {
		return false
	}
	return s.recordVerification(p, deep, files)
}
